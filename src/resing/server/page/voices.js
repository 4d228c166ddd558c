// Voices: who they are, how they sound, in and out.

import * as api from "./api.js";
import { confirmed, h, midi, say, trying } from "./dom.js";

let sounding = null;

export async function list() {
  const { voices, problems } = await api.call("GET", "/voices");
  problems.forEach(say);
  return voices.map((voice) => ({ ...voice, low: midi(voice.card.range_hz[0]), high: midi(voice.card.range_hz[1]) }));
}

// Plays how a voice sounds; the first time it has to sing it, which takes a few seconds.
async function listenTo(voice, button) {
  if (sounding?.name === voice.card.name) { sounding.stop(); return; }
  sounding?.stop();
  const was = button.textContent;
  if (!voice.has_sample) {
    button.textContent = "Singing …";
    const job = await api.start({ kind: "sample", voice: voice.card.name });
    const over = await api.follow(job.id).done;
    button.textContent = was;
    if (over.state !== "done") throw new api.Refused(0, over.error || { message: "It could not be sung." });
    voice.has_sample = true;
  }
  const sound = new Audio(`/api/voices/${voice.card.name}/sample`);
  const stop = () => { sound.pause(); button.textContent = was; sounding = null; };
  sounding = { name: voice.card.name, stop };
  sound.onended = stop;
  button.textContent = "■ Stop";
  await sound.play();
}

// Cards to look at, or to choose one of.
export function cards(voices, { chosen, choose, more, actions } = {}) {
  return h("div", { className: "grid", role: choose ? "radiogroup" : undefined, ariaLabel: choose ? "Voice" : undefined }, ...voices.map((voice) => {
    const { card } = voice;
    const play = h("button", { ariaLabel: `How ${card.name} sounds`, onclick: (event) => { event.preventDefault(); trying(() => listenTo(voice, play))(event); } }, "▶ Listen");
    const facts = [card.sex !== "unstated" && card.sex, card.kind, card.languages.join(", ")].filter(Boolean).join(" · ");
    const name = choose
      ? h("label", { className: "row grow" }, h("input", { type: "radio", name: "voice", value: card.name, checked: card.name === chosen, onchange: () => choose(card.name) }), h("h3", {}, card.name))
      : h("h3", { className: "grow" }, card.name);
    return h("div", { className: `card voice${card.name === chosen ? " chosen" : ""}`, "data-choose": choose && true, onclick: (event) => { if (choose && !event.target.closest("button, input, label, a")) choose(card.name); } },
      h("div", { className: "row apart" }, name, play), h("span", { className: "soft" }, facts),
      h("div", { className: "row" }, h("span", { className: "tag" }, voice.range), h("span", { className: "tag", title: card.licence }, card.licence)), more?.(voice), actions?.(voice));
  }));
}

export function leave() {
  sounding?.stop();
}

export async function show(section) {
  const [voices, about] = await Promise.all([list(), api.call("GET", "/about")]);
  const input = h("input", { type: "file", accept: ".safetensors", hidden: true, onchange: trying(() => bringIn(section, input.files[0])) });
  const details = ({ card }) => h("details", {}, h("summary", {}, "Card"), h("dl", {}, ...[["Whose", card.whose], ["Consent", card.consent], ["Licence", card.licence], ["Credit", card.credit], ["Source", card.source],
    ["Heard", `${card.minutes.toFixed(1)} minutes in ${card.recordings} recordings`], ["Made", card.created]].filter(([, text]) => text).flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)])));
  const actions = (voice) => h("div", {}, details(voice), h("div", { className: "row" }, h("a", { className: "button", href: `/api/voices/${voice.card.name}/file`, download: "" }, "Export"),
    voice.own && h("button", { className: "danger", onclick: trying(async () => {
      if (!await confirmed(`Remove the voice ${voice.card.name}? It cannot be brought back.`, "Remove")) return;
      await api.call("DELETE", `/voices/${voice.card.name}`);
      await show(section);
    }) }, "Remove")));
  section.replaceChildren(h("div", { className: "row apart" }, h("h1", {}, "Voices"), h("div", { className: "row" }, about.voice_import && h("button", { onclick: () => input.click() }, "Import a voice file"), input,
    h("a", { className: "button", href: "#create" }, "Make a new one"))), cards(voices, { actions }),
  !about.voice_import && h("p", { className: "soft" }, "To add a voice file that somebody gave you: resing voice install FILE, or start with resing serve --voice-import."));
}

async function bringIn(section, file) {
  if (!file) return;
  const answer = await fetch("/api/voices", { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
  const told = await answer.json();
  if (!answer.ok) throw new api.Refused(answer.status, told.error);
  say(`${told.card.name} is here.`);
  await show(section);
}
