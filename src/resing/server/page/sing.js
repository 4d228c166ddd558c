// A song, a voice, a key, and the song in that voice.

import * as api from "./api.js";
import { bar, clock, dropZone, h, key, percent, say, trying } from "./dom.js";
import { draw, range, waveform } from "./draw.js";
import { showResult } from "./result.js";
import { cards, list } from "./voices.js";

const STATE = "resing.sing", OVER = ["done", "failed", "cancelled"];
let state = {}, place = null, about = null, voices = [], heard = null, result = null;

function keep(changes) {
  state = { ...state, ...changes };
  localStorage.setItem(STATE, JSON.stringify(state));
}

export function leave() {
  result?.pause();
}

export async function show(section, [job]) {
  if (job) {
    const known = await api.call("GET", `/jobs/${job}`), asked = known.kind === "retake" ? (await api.result(job)).request : known.request;
    keep({ upload: asked.upload, voice: asked.voice, picked: true, job, listen: null });
    history.replaceState(null, "", "#sing");
    if (place) { place = null; section.replaceChildren(); }
  }
  about ||= await api.call("GET", "/about");
  voices = await list();
  if (place) return;
  state = JSON.parse(localStorage.getItem(STATE) || "{}");
  build(section);
  if (state.upload) {
    try {
      await songIsHere(await api.call("GET", `/uploads/${state.upload}`));
    } catch {
      keep({ upload: null, listen: null });
    }
  }
  if (state.job) watch(state.job).catch(() => keep({ job: null }));
}

function build(section) {
  place = {
    song: h("div"), voice: h("div", { className: "card", id: "choose-voice" }), how: h("div", { className: "card", hidden: true, id: "how" }),
    work: h("div", { className: "card", hidden: true, id: "work" }), result: h("div", { id: "result" }),
  };
  section.replaceChildren(h("h1", {}, "Your song, in another voice"),
    h("p", { className: "lead" }, "Drop a song, choose a voice, and listen. The music stays; only the singing changes."),
    place.song, place.voice, place.how, place.work, place.result);
  noSong();
  showVoices();
}

function noSong(problem) {
  const record = h("button", { id: "record", onclick: trying(() => recordSong(record)) }, "● Record");
  place.song.replaceChildren(dropZone("Drop a song or a recording here: mp3, m4a, wav, flac, a video …", false,
    (files) => files[0] && trying(() => send(files[0]))(), navigator.mediaDevices && record), problem ? h("p", { className: "error", role: "alert" }, problem) : "");
  place.how.hidden = true;
}

async function recordSong(button) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } })
    .catch(() => { throw new api.Refused(0, { message: "The microphone is not open to this page; allow it in the browser." }); });
  const recorder = new MediaRecorder(stream), pieces = [], began = performance.now();
  recorder.ondataavailable = (event) => pieces.push(event.data);
  const stop = h("button", { className: "main", id: "stop", onclick: () => recorder.stop() }, "■ Stop");
  const time = h("span", { className: "clock" }, "0:00"), ticking = setInterval(() => { time.textContent = clock((performance.now() - began) / 1000); }, 300);
  button.replaceWith(stop, time);
  stop.focus();
  recorder.onstop = trying(async () => {
    clearInterval(ticking);
    stream.getTracks().forEach((track) => track.stop());
    const ending = recorder.mimeType.includes("mp4") ? "m4a" : "webm";
    await send(new File(pieces, `recording ${new Date().toLocaleTimeString().replaceAll(":", ".")}.${ending}`, { type: recorder.mimeType }));
  });
  recorder.start();
}

async function send(file) {
  if (file.size > about.limits.upload_bytes) throw new api.Refused(413, { message: `${file.name} is larger than ${Math.round(about.limits.upload_bytes / 2 ** 20)} MB; cut it, or save it as mp3.` });
  const meter = h("progress", { max: 1, value: 0 });
  place.song.replaceChildren(h("div", { className: "card" }, h("p", {}, `Sending ${file.name} …`), meter));
  result?.close();
  result = null;
  place.result.replaceChildren();
  try {
    const upload = await api.upload(file, (share) => { meter.value = share; });
    heard = null;
    keep({ upload: upload.id, listen: null, job: null, picked: false });
    await songIsHere(upload);
  } catch (error) {
    noSong(error.message);
  }
}

async function songIsHere(upload) {
  const wave = h("canvas", { className: "wave", role: "img", ariaLabel: "The song's loudness over time" });
  const fits = h("div", { id: "heard" });
  place.song.replaceChildren(h("div", { className: "card", id: "song" },
    h("div", { className: "row apart" }, h("div", {}, h("h2", {}, upload.name), h("span", { className: "soft" }, `${clock(upload.seconds)} · ${upload.sample_rate / 1000} kHz · ${upload.channels === 1 ? "mono" : upload.channels === 2 ? "stereo" : `${upload.channels} channels`}`)),
      h("button", { onclick: () => { keep({ upload: null, listen: null, job: null }); heard = null; noSong(); showVoices(); } }, "Another song")), wave, fits));
  draw(wave, waveform, upload.peaks);
  place.how.hidden = false;
  showHow(upload);
  await listen(upload, fits);
}

// Which notes the song has, so that voices can be compared with it before anything is sung.
async function listen(upload, where) {
  let job = state.listen && await api.call("GET", `/jobs/${state.listen}`).catch(() => null);
  if (!job || ["failed", "cancelled"].includes(job.state)) job = await api.start({ kind: "listen", upload: upload.id });
  keep({ listen: job.id });
  const meter = bar(() => api.call("POST", `/jobs/${job.id}/cancel`));
  where.replaceChildren(meter.element);
  const over = await api.follow(job.id, meter.update).done;
  if (state.upload !== upload.id) return;
  if (over.state !== "done") {
    where.replaceChildren(h("p", { className: "error" }, over.error?.message || "Not listened to; the key is found while singing."));
    return;
  }
  heard = await api.result(job.id);
  where.replaceChildren(h("p", { className: "soft" }, heard.a_cappella ? "A voice alone" : "A song with music",
    ` · ${clock(heard.sung_seconds)} of singing`, heard.reverberant ? " · long reverb: a drier recording would be sung more clearly" : ""));
  showVoices();
}

function showVoices() {
  const best = heard && Object.entries(heard.fits).sort((a, b) => (b[1].inside - b[1].near / 2) - (a[1].inside - a[1].near / 2))[0]?.[0];
  if (!state.picked || !voices.some((voice) => voice.card.name === state.voice)) keep({ voice: best || state.voice || voices[0]?.card.name });
  const fitted = (voice) => {
    const lies = heard?.fits[voice.card.name];
    if (!lies) return null;
    const canvas = h("canvas", { className: "range", role: "img", ariaLabel: `The song's notes over the range of ${voice.card.name}` });
    requestAnimationFrame(() => draw(canvas, range, heard.notes, lies.transpose, voice.low, voice.high));
    return h("div", {}, h("div", { className: "row" }, h("span", { className: `tag ${lies.inside > 0.9 ? "good" : "warm"}` }, `${percent(lies.inside)} in range`),
      h("span", { className: "soft" }, `key ${key(lies.transpose)}`), voice.card.name === best && h("span", { className: "tag good" }, "fits best")), canvas);
  };
  place.voice.replaceChildren(h("h2", {}, "Voice"), !heard ? "" : h("p", { className: "soft" }, "The grey field is what a voice can sing, the bars are the notes of your song: green inside it, orange outside."), voices.length
    ? cards(voices, { chosen: state.voice, choose: (name) => { keep({ voice: name, picked: true }); showVoices(); }, more: fitted })
    : h("p", {}, "No voice is here yet. ", h("a", { href: "#create" }, "Make one"), "."));
  place.how.querySelector("#auto-key")?.replaceChildren(autoKey());
}

function autoKey() {
  const lies = heard?.fits[state.voice];
  return lies ? `Found by itself: ${key(lies.transpose)}` : "Found by itself";
}

function showHow(upload) {
  const options = about.defaults.options, song = about.defaults.song;
  const keyed = h("select", { id: "key", onchange: () => { own.hidden = keyed.value !== "own"; } }, h("option", { value: "auto", id: "auto-key" }, autoKey()), h("option", { value: "octaves" }, "Whole octaves only"), h("option", { value: "own" }, "My own …"));
  const number = (name, text, given, more) => h("label", { className: "field" }, h("span", {}, text), h("input", { type: "number", name, value: given, ...more }));
  const own = h("label", { className: "field", hidden: true }, h("span", {}, "Semitones (−12: an octave down)"), h("input", { type: "number", name: "own", value: 0, min: -48, max: 48, step: "any" }));
  const choice = (name, text, given, all) => h("label", { className: "field" }, h("span", {}, text), h("select", { name }, ...Object.entries(all).map(([value, words]) => h("option", { value, selected: value === given }, words))));
  const form = h("form", { onsubmit: (event) => event.preventDefault() }, h("h2", {}, "How"), h("div", { className: "fields" }, h("label", { className: "field" }, h("span", {}, "Key"), keyed), own),
    h("details", {}, h("summary", {}, "More settings"), h("div", { className: "fields" },
      choice("out_of_range", "Notes that the voice does not have", options.out_of_range, { fold: "move by octaves", clamp: "to its highest or lowest", keep: "try anyway" }),
      choice("a_cappella", "The song is", "", { "": "heard by itself", no: "a voice with music", yes: "a voice alone" }),
      number("lead_gain_db", "Voice louder or softer, dB", song.mix.lead_gain_db, { min: -24, max: 24, step: 0.5 }),
      number("articulation", "Keep the singer's way with words, 0 to 1", options.articulation, { min: 0, max: 1, step: 0.1 }),
      number("dynamics", "Follow its loud and soft, 0 to 1", options.dynamics, { min: 0, max: 1, step: 0.1 }),
      number("temperature", "Liveliness, 0 to 1.5", options.temperature, { min: 0, max: 1.5, step: 0.1 }),
      number("steps", "Care: more is slower", options.steps, { min: 0, max: 50 }),
      number("seed", "Take: another number, another take", options.seed, { step: 1 })),
    h("label", { className: "check" }, h("input", { type: "checkbox", name: "shift" }), "Move the music to the new key, too")),
    h("div", { className: "row" }, h("button", { className: "main wide", id: "go", onclick: trying(() => begin(false)) }, "Sing it"),
      h("button", { className: "wide", id: "preview", onclick: trying(() => begin(true)) }, "Preview 15 seconds")));
  const field = (name) => form.elements.namedItem(name);
  async function begin(preview) {
    if (!form.reportValidity()) return;
    const numbers = Object.fromEntries(["articulation", "dynamics", "temperature", "steps", "seed"].map((name) => [name, Number(field(name).value)]));
    const transpose = keyed.value === "own" ? Number(field("own").value) : keyed.value;
    const alone = { yes: true, no: false }[field("a_cappella").value] ?? (heard ? heard.a_cappella : null);
    await sing({ kind: "convert", upload: upload.id, voice: state.voice, preview, options: { ...numbers, transpose, out_of_range: field("out_of_range").value },
      song: { a_cappella: alone, shift_accompaniment: field("shift").checked, mix: { lead_gain_db: Number(field("lead_gain_db").value) } } });
  }
  place.how.replaceChildren(form);
}

export async function sing(request) {
  const job = await api.start(request);
  keep({ job: job.id });
  await watch(job.id);
}

async function watch(id) {
  const first = await api.call("GET", `/jobs/${id}`);
  const meter = bar(() => api.call("POST", `/jobs/${id}/cancel`));
  place.work.replaceChildren(h("h2", {}, first.title), meter.element);
  place.work.hidden = false;
  place.work.scrollIntoView({ block: "nearest", behavior: "smooth" });
  const over = await api.follow(id, meter.update).done;
  if (state.job !== id) return;
  if (over.state === "failed") {
    place.work.replaceChildren(h("h2", {}, over.title), h("p", { className: "error" }, over.error.message),
      h("button", { onclick: trying(async () => { await api.call("POST", `/jobs/${id}/retry`); await watch(id); }) }, "Try again"));
    return;
  }
  place.work.hidden = true;
  if (over.state === "cancelled") { say("Cancelled."); return; }
  if (!api.secretOf(id)) { say("This was sung from another browser, where it can be heard."); return; }
  result?.close();
  if (!OVER.includes(first.state)) place.result.scrollIntoView({ behavior: "smooth" });
  result = await showResult(place.result, over, { sing, open: (job) => { keep({ job }); return watch(job); } });
}

addEventListener("keydown", (event) => {
  if (!result || document.getElementById("sing").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
  if (/^(INPUT|SELECT|TEXTAREA|BUTTON|A|SUMMARY)$/.test(event.target.tagName) && !(event.target.tagName === "BUTTON" && event.key !== " " && event.key !== "Enter")) return;
  if (result.press(event.key)) event.preventDefault();
});
