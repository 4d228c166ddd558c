// The page: four parts, one shown at a time, by the address behind the #.

import { call } from "./api.js";
import { say } from "./dom.js";
import * as create from "./create.js";
import * as jobs from "./jobs.js";
import * as sing from "./sing.js";
import * as voices from "./voices.js";

const PARTS = { sing, create, voices, jobs };

async function show() {
  const [name, ...rest] = location.hash.slice(1).split("/"), chosen = PARTS[name] ? name : "sing";
  for (const [part, module] of Object.entries(PARTS)) {
    const section = document.getElementById(part), here = part === chosen;
    if (!here && !section.hidden) module.leave?.();
    section.hidden = !here;
    const link = document.querySelector(`nav a[href="#${part}"]`);
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  try {
    await PARTS[chosen].show(document.getElementById(chosen), rest);
  } catch (error) {
    say(error.message);
    if (!error.status) console.error(error);
  }
}

async function count() {
  try {
    const busy = (await call("GET", "/jobs")).filter((job) => job.state === "running" || job.state === "queued").length;
    const mark = document.getElementById("busy");
    mark.textContent = busy;
    mark.hidden = !busy;
  } catch { /* the server is away; whoever needs it says so */ }
}

addEventListener("hashchange", () => { show(); document.getElementById("main").focus(); });
show();
count();
setInterval(() => { if (!document.hidden) count(); }, 5000);
