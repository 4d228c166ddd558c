// The queue and what became of it.

import * as api from "./api.js";
import { bar, confirmed, h, say, trying } from "./dom.js";

let timer = null;
const open = new Set();

export function leave() {
  clearTimeout(timer);
}

export async function show(section) {
  clearTimeout(timer);
  const jobs = await api.call("GET", "/jobs");
  section.replaceChildren(h("h1", {}, "Jobs"), jobs.length ? h("ul", { className: "plain card" }, ...jobs.map((job) => item(job, section))) : h("p", {}, "Nothing has been asked for yet."));
  timer = setTimeout(() => {
    const busy = section.contains(document.activeElement) || document.getElementById("ask").open;
    if (!section.hidden && !document.hidden && !busy) show(section).catch(() => {});
    else timer = setTimeout(() => show(section).catch(() => {}), 2000);
  }, 2000);
}

function item(job, section) {
  const again = () => show(section), act = (text, work, className) => h("button", { className, onclick: trying(async () => { await work(); await again(); }) }, text);
  const over = ["done", "failed", "cancelled"].includes(job.state), meter = bar();
  if (!over) meter.update(job);
  const log = h("pre"), details = h("details", { open: open.has(job.id), ontoggle: trying(async () => {
    if (details.open) open.add(job.id); else open.delete(job.id);
    if (details.open) log.textContent = (await api.call("GET", `/jobs/${job.id}/log`)).map((line) => `${new Date(line.time * 1000).toLocaleTimeString()}  ${line.text}`).join("\n");
  }) }, h("summary", {}, "Log"), log);
  const mine = Boolean(api.secretOf(job.id));
  return h("li", { id: `job-${job.id}` }, h("div", { className: "row apart" }, h("div", { className: "grow" }, h("h3", {}, job.title), h("span", { className: "soft" }, new Date(job.created * 1000).toLocaleString())), h("span", { className: `tag ${job.state}` }, job.cancelling ? "cancelling" : job.state)),
    !over && meter.element, job.error && h("p", { className: "error" }, job.error.message),
    job.state === "done" && !mine && h("p", { className: "soft" }, "Asked for from another browser, where what it made can be had."),
    h("div", { className: "row" }, !over && act("Cancel", () => api.call("POST", `/jobs/${job.id}/cancel`)),
      (job.state === "failed" || job.state === "cancelled") && act("Try again", () => api.call("POST", `/jobs/${job.id}/retry`)),
      job.state === "done" && ["convert", "retake"].includes(job.kind) && mine && h("a", { className: "button", href: `#sing/${job.id}` }, "Listen"),
      over && job.kind === "convert" && act("Again with these settings", async () => { await api.start(job.request); say("Queued."); }),
      over && mine && act("Remove", async () => { if (job.state !== "done" || await confirmed(`Remove "${job.title}" and what it made?`, "Remove")) await api.forget(job.id); }, "danger"), details));
}
