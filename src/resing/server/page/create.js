// A new voice: recordings, what was found in them, whose voice it is, and the learning of it.

import * as api from "./api.js";
import { bar, clock, dropZone, h, say, size, trying } from "./dom.js";
import { draw, training } from "./draw.js";

const STATE = "resing.create";
let state = { uploads: [] }, place = null, about = null;

function keep(changes) {
  state = { ...state, ...changes };
  localStorage.setItem(STATE, JSON.stringify(state));
}

export async function show(section) {
  about ||= await api.call("GET", "/about");
  if (place) return;
  state = { uploads: [], ...JSON.parse(localStorage.getItem(STATE) || "{}") };
  place = { files: h("div"), found: h("div"), facts: h("div"), work: h("div") };
  section.replaceChildren(h("h1", {}, "A new voice"), h("p", { className: "lead" }, "From recordings of one person singing: ten minutes are plenty, one is the least. Dry, without music, and without other voices. You see what is in them, and say whose voice it is, before anything is made."),
    place.files, place.found, place.facts, place.work);
  showFiles();
  if (state.look) found(state.look).catch(() => keep({ look: null }));
  if (state.make) watch(state.make).catch(() => keep({ make: null }));
}

const PRESETS = { embedded: "what is here: best on a laptop", big: "larger models, which have to be downloaded first: for a GPU", classic: "the networks of Diff-SVC: slow" };

function showFiles() {
  const seconds = state.uploads.reduce((sum, one) => sum + one.seconds, 0);
  const songs = h("input", { type: "checkbox", id: "songs", checked: state.songs, onchange: () => keep({ songs: songs.checked }) });
  const preset = h("select", { id: "preset", onchange: () => keep({ preset: preset.value }) }, ...Object.entries(PRESETS).map(([value, words]) => h("option", { value, selected: value === (state.preset || "embedded") }, words)));
  place.files.replaceChildren(dropZone("Drop recordings here", true, (files) => trying(() => send(files))()), ...state.uploads.length ? [h("div", { className: "card", id: "recordings" },
    h("h2", {}, `${state.uploads.length} recording${state.uploads.length === 1 ? "" : "s"}, ${clock(seconds)}`), h("details", { open: state.uploads.length < 6 }, h("summary", {}, "Files"), h("ul", { className: "plain" }, ...state.uploads.map((one) => h("li", { className: "row apart" },
      h("span", {}, one.name), h("span", { className: "row soft" }, `${clock(one.seconds)} · ${size(one.bytes)}`, h("button", { ariaLabel: `Leave out ${one.name}`, onclick: () => { keep({ uploads: state.uploads.filter((other) => other !== one), look: null }); showFiles(); place.found.replaceChildren(); place.facts.replaceChildren(); } }, "✕")))))),
    h("label", { className: "check" }, songs, "These are songs with music: take the voice out of them first"),
    h("details", {}, h("summary", {}, "More settings"), h("label", { className: "field" }, h("span", {}, "Made with"), preset)),
    h("button", { className: "main", id: "look", onclick: trying(look) }, "Look at them"))] : []);
}

async function send(files) {
  const meter = h("progress", { max: files.length, value: 0 }), text = h("p");
  place.files.replaceChildren(h("div", { className: "card" }, text, meter));
  for (const [number, file] of files.entries()) {
    text.textContent = `Sending ${file.name} …`;
    try {
      const { id, name, seconds, bytes } = await api.upload(file, (share) => { meter.value = number + share; });
      keep({ uploads: [...state.uploads, { id, name, seconds, bytes }], look: null });
    } catch (error) {
      say(error.message);
    }
  }
  showFiles();
}

async function look() {
  const job = await api.start({ kind: "recordings", uploads: state.uploads.map((one) => one.id), songs: Boolean(state.songs), preset: state.preset || "embedded" });
  keep({ look: job.id });
  await found(job.id);
}

async function found(id) {
  const meter = bar(() => api.call("POST", `/jobs/${id}/cancel`));
  place.facts.replaceChildren();
  place.found.replaceChildren(h("div", { className: "card", id: "looking" }, meter.element));
  const over = await api.follow(id, meter.update).done;
  if (state.look !== id) return;
  if (over.state !== "done") { place.found.replaceChildren(over.error ? h("div", { className: "card" }, h("p", { className: "error" }, over.error.message)) : ""); return; }
  const { report, range } = await api.result(id);
  const figure = (text, value) => h("div", {}, h("b", {}, value), h("span", {}, text));
  place.found.replaceChildren(h("div", { className: "card", id: "found" }, h("h2", {}, "What is in them"), h("div", { className: "figures" },
    figure("of singing or speech", `${report.minutes.toFixed(1)} min`), figure("range", range), figure("sound up to", `${(report.bandwidth_hz / 1000).toFixed(1)} kHz`),
    report.snr_db !== null && figure("above the noise", `${Math.round(report.snr_db)} dB`)),
  report.warnings.length ? h("ul", {}, ...report.warnings.map((text) => h("li", {}, text))) : h("p", {}, h("span", { className: "tag good" }, "Nothing to complain about"))));
  if (!state.make) showFacts(id);
}

const RIGHTS = { own: "It is my own voice.", agreed: "The person agreed to this voice being made:", free: "The recordings are free for this use:", synthetic: "No person: it is a synthesiser's voice:" };

function showFacts(recordings) {
  const text = (name, label, more = {}) => h("label", { className: "field" }, h("span", {}, label), h("input", { type: "text", name, maxLength: 300, ...more }));
  const choice = (name, label, all) => h("label", { className: "field" }, h("span", {}, label), h("select", { name }, ...all.map(([value, words]) => h("option", { value }, words))));
  const why = text("why", "How, or why nobody has to: a few words", { hidden: false }), rights = Object.entries(RIGHTS).map(([value, words], number) => h("label", { className: "check" },
    h("input", { type: "radio", name: "right", value, required: true, onchange: () => { why.hidden = value === "own"; why.querySelector("input").required = value !== "own"; } }), words));
  why.hidden = true;
  const form = h("form", { id: "facts", className: "card", onsubmit: (event) => { event.preventDefault(); trying(() => make(form, recordings))(); } }, h("h2", {}, "Whose voice is it?"),
    h("div", { className: "fields" }, text("name", "Name of the voice: letters, digits, - and _", { required: true, pattern: "[A-Za-z0-9][A-Za-z0-9_\\-]{0,63}" }), text("whose", "Who is heard")),
    h("fieldset", { className: "card" }, h("legend", {}, "By what right is it made?"), ...rights, why),
    h("div", { className: "fields" }, choice("licence", "Who may use it", [["private", "only me"], ["CC BY 4.0", "everybody who names the singer (CC BY 4.0)"], ["CC BY-NC 4.0", "everybody, without earning money (CC BY-NC 4.0)"], ["CC0 1.0", "everybody, for everything (CC0)"]]),
      choice("sex", "It sounds", [["unstated", "I do not say"], ["female", "female"], ["male", "male"]]), choice("kind", "The recordings are", [["singing", "singing"], ["speech", "speech"], ["synthetic singing", "synthetic singing"]]), text("languages", "Languages, such as en, fr")),
    h("details", {}, h("summary", {}, "More settings"), h("label", { className: "field" }, h("span", {}, "Steps at most; it stops by itself when it gets no better"), h("input", { type: "number", name: "steps", min: 1, max: 20000, value: about.defaults.training.steps }))),
    h("label", { className: "check" }, h("input", { type: "checkbox", required: true, name: "sure" }), "I confirm this. The sentence goes into the voice's card, for everybody who uses it."),
    h("button", { className: "main wide", id: "make" }, "Make the voice"));
  place.facts.replaceChildren(form);
}

async function make(form, recordings) {
  const given = Object.fromEntries(new FormData(form)), consent = given.right === "own" ? RIGHTS.own : `${RIGHTS[given.right]} ${given.why}`;
  const facts = { name: given.name, whose: given.whose, licence: given.licence, consent, sex: given.sex, kind: given.kind, languages: given.languages.split(",").map((part) => part.trim()).filter(Boolean) };
  const job = await api.start({ kind: "voice", recordings, facts, training: { steps: Number(given.steps) } });
  keep({ make: job.id });
  place.facts.replaceChildren();
  await watch(job.id);
}

// How the voice sounds at its best so far; a better one does not cut off what is playing.
function soFar(where, job) {
  const step = job.progress.figures.best_step, player = where.querySelector("audio");
  const shown = `${step} ${job.state === "done"}`;
  if (!step || where.dataset.shown === shown || (player && !player.paused) || !api.secretOf(job.id)) return;
  where.dataset.shown = shown;
  where.replaceChildren(h("p", {}, job.state === "done" ? "How it came out: " : "How it sounds so far: ", h("span", { className: "soft" }, `a few bars, from step ${step}`)),
    h("audio", { controls: true, src: `${api.fileAddress(job.id, "best.flac")}&step=${step}`, ariaLabel: "The voice so far" }));
}

async function watch(id) {
  const meter = bar(() => api.call("POST", `/jobs/${id}/cancel`)), canvas = h("canvas", { className: "tall", role: "img", ariaLabel: "Loss so far, and what the weights are judged by" }), log = h("pre", { ariaLabel: "Log" });
  const sound = h("div", { id: "best" }), title = h("h2"), hint = h("p", { className: "soft" }, "You may close this page; the work goes on as long as the server runs, and after a restart from where it was.");
  place.work.replaceChildren(h("div", { className: "card", id: "making" }, title, meter.element, canvas, sound, h("details", { open: true }, h("summary", {}, "Log"), log), hint));
  let last = 0;
  const look = async (job) => {
    meter.update(job);
    title.textContent = job.title;
    if (performance.now() - last < 2000 && job.state === "running") return;
    last = performance.now();
    const [lines, curve] = await Promise.all([api.call("GET", `/jobs/${id}/log`), api.opened(id, "curve").catch(() => null)]);
    log.textContent = lines.map((line) => `${new Date(line.time * 1000).toLocaleTimeString()}  ${line.text}`).join("\n");
    log.scrollTop = log.scrollHeight;
    if (curve) draw(canvas, training, curve, job.progress.figures.steps || 0);
    soFar(sound, job);
  };
  const over = await api.follow(id, (job) => look(job).catch(() => {})).done;
  const anew = h("button", { onclick: () => { keep({ uploads: [], look: null, make: null }); place = null; show(document.getElementById("create")); } }, "Make another");
  const again = h("button", { onclick: trying(async () => { await api.call("POST", `/jobs/${id}/retry`); await watch(id); }) }, "Try again: it goes on from where it was");
  hint.replaceWith(over.state === "done" ? h("div", { className: "row" }, h("span", { className: "tag good" }, "Ready"), h("a", { className: "button", href: "#sing" }, "Sing with it"), anew)
    : h("div", {}, h("p", { className: "error" }, over.error?.message || "Cancelled."), h("div", { className: "row" }, again, anew)));
}
