// What a conversion made: before and after at the same place, pictures, weak phrases, levels, downloads.

import * as api from "./api.js";
import { bar, clock, h, key, percent, size, trying } from "./dom.js";
import { draw, melody, spectrogram } from "./draw.js";
import { Player } from "./player.js";

const WEAK = 0.25;
const span = (phrase) => `${clock(phrase.start_seconds)}–${clock(phrase.end_seconds)}`;

// `act` has two things that a result asks for: sing(request), and open(job) to go back to another result.
export async function showResult(where, job, act) {
  const told = await api.result(job.id), { record } = told;
  where.replaceChildren(h("div", { className: "card" }, h("p", {}, "Loading the sound …")));
  const [before, after, curves] = await Promise.all([...["original.flac", "song.flac"].map((name) => api.bytes(api.fileAddress(job.id, name))), api.opened(job.id, "files/curves.json")]);
  const view = new Result(where, job, told, act);
  const buffers = [await view.player.add("before", before), await view.player.add("after", after)];
  view.player.hear("after");
  view.build(record, curves);
  view.draw(buffers);
  if (told.anew) view.player.seek(told.anew.start_seconds - record.options.start_seconds - 0.3);
  view.judge();
  return view;
}

class Result {
  constructor(where, job, told, act) {
    Object.assign(this, { where, job, told, act, phrases: [], weak: [], request: told.request || job.request });
    this.files = { previous: told.of && api.secretOf(told.of) && api.fileAddress(told.of, "song.flac") };
    this.player = new Player(() => this.refresh());
  }

  build(record, curves) {
    this.curves = curves;
    this.record = record;
    const stems = !this.told.a_cappella;
    this.toggle = h("button", { className: "main", id: "play", ariaLabel: "Play", onclick: () => this.playOrPause() }, "▶ Play");
    this.choices = Object.fromEntries([["before", "Original"], ["after", record.voice], ...(stems ? [["converted", "Voice alone"]] : []), ...(this.files.previous ? [["previous", "Take before"]] : [])].map(([name, text]) => [name,
      h("button", { id: `hear-${name}`, onclick: trying(() => this.hear(name)) }, text)]));
    this.clock = h("span", { className: "clock" });
    this.seek = h("input", { type: "range", id: "seek", min: 0, max: this.player.seconds, step: 0.01, value: 0, ariaLabel: "Place in the song", oninput: () => this.player.seek(Number(this.seek.value)) });
    const lane = (id, kind, text) => h("figure", { id: `lane-${id}`, className: kind === "melody" ? "light" : "" }, h("canvas", { className: kind }), h("figcaption", {}, text));
    this.head = h("div", { className: "head" });
    this.lanes = h("div", { className: "lanes", onclick: (event) => { const box = this.lanes.getBoundingClientRect(); this.player.seek(((event.clientX - box.left) / box.width) * this.player.seconds); } },
      lane("before", "tall", "Original"), lane("after", "tall", record.voice), lane("melody", "melody", `Melody: grey as it was sung${record.transpose ? ` (${key(record.transpose)})` : ""}, violet now`), this.head);
    this.weakList = h("div", { id: "weak" });
    this.where.replaceChildren(h("div", { className: "card" },
      h("div", { className: "row apart" }, h("h2", {}, this.job.title), h("span", { className: "soft" }, `Key: ${key(record.transpose)} · ${percent(record.range.inside)} in the voice's range`)),
      h("div", { className: "row" }, this.toggle, h("div", { className: "switch", role: "group", ariaLabel: "What is heard" }, ...Object.values(this.choices)), this.clock), this.seek, this.lanes,
      h("p", { className: "soft keys" }, "Keys: space plays, X switches, ← → move, N next weak place"), this.anew(), this.weakList, this.more(), stems && this.levels(), this.downloads()));
    this.refresh();
  }

  draw(buffers) {
    spectrogram(this.where.querySelector("#lane-before canvas"), buffers[0]);
    spectrogram(this.where.querySelector("#lane-after canvas"), buffers[1]);
    this.drawMelody();
  }

  drawMelody() {
    draw(this.where.querySelector("#lane-melody canvas"), melody, this.curves, this.record.transpose, this.player.seconds, this.phrases);
  }

  async hear(name) {
    if (["converted", "previous"].includes(name) && !this.player.tracks.has(name)) await this.load(name);
    this.player.hear(name === "after" && this.mixing ? "converted+accompaniment" : name);
  }

  // A stem joins the others at the place where they are.
  async load(name) {
    const content = await api.bytes(this.files[name] || api.fileAddress(this.job.id, `${name}.flac`)), was = this.player.playing;
    this.player.pause();
    await this.player.add(name, content);
    if (was) this.player.play();
  }

  levels() {
    const gains = { converted: 0, accompaniment: 0 };
    const slider = (name, text) => {
      const shown = h("span", {}, "0 dB");
      return h("label", { className: "field" }, h("span", {}, `${text} `, shown), h("input", { type: "range", min: -12, max: 12, step: 0.5, value: 0, id: `level-${name}`, oninput: trying(async (event) => {
        gains[name] = Number(event.target.value);
        shown.textContent = `${gains[name] > 0 ? "+" : ""}${gains[name]} dB`;
        for (const stem of Object.keys(gains)) if (!this.player.tracks.has(stem)) await this.load(stem);
        for (const stem of Object.keys(gains)) this.player.tracks.get(stem).level = 10 ** (gains[stem] / 20);
        this.mixing = true;
        this.player.hear("converted+accompaniment");
      }) }));
    };
    const again = h("button", { onclick: trying(async () => {
      const request = structuredClone(this.request);
      request.song.mix.lead_gain_db = Math.max(-24, Math.min(24, request.song.mix.lead_gain_db + gains.converted - gains.accompaniment));
      await this.act.sing(request);
    }) }, this.told.of ? "Make the song like this, with its first takes" : "Make the song like this");
    return h("details", {}, h("summary", {}, "Levels of voice and music"), h("div", { className: "fields" }, slider("converted", "Voice"), slider("accompaniment", "Music")), again);
  }

  // What another take of a phrase came to, and the way back.
  anew() {
    const { anew, of } = this.told, start = this.record.options.start_seconds;
    if (!anew) return null;
    const phrase = { start_seconds: anew.start_seconds - start, end_seconds: anew.end_seconds - start };
    const words = anew.weak_seconds || anew.left_seconds ? `${anew.fault} for ${anew.weak_seconds.toFixed(1)} s before, ${anew.left_seconds.toFixed(1)} s now` : "its tone was clear and is";
    return h("div", { id: "anew", className: "note" }, h("p", {}, h("b", {}, `${span(phrase)} is another take`), ` · ${words}. All else is as it was.`),
      h("div", { className: "row" }, h("button", { onclick: () => this.playPhrase(phrase) }, "▶ Listen to it"), h("button", { onclick: trying(() => this.again(phrase)) }, "Try once more"),
        this.files.previous && h("button", { id: "back", onclick: trying(() => this.act.open(of)) }, "Back to the take before")));
  }

  again(phrase) {
    const start = this.record.options.start_seconds;
    return this.act.sing({ kind: "retake", job: this.job.id, start_seconds: start + phrase.start_seconds, end_seconds: start + phrase.end_seconds });
  }

  // A place that only the ear finds weak.
  more() {
    return h("p", { className: "row" }, h("span", { className: "soft grow" }, "Something else sounds wrong? Stop there, and another take of that one phrase is put into the song; the rest stays as it is."),
      h("button", { id: "again-here", onclick: trying(() => {
        const now = this.player.now, phrase = this.phrases.find((one) => one.start_seconds <= now && now < one.end_seconds);
        if (this.phrases.length && !phrase) throw new api.Refused(0, { message: "Nothing is sung where the line stands; move it to the place that sounds wrong." });
        return this.again(phrase || { start_seconds: now, end_seconds: now + 0.3 });
      }) }, "Sing the phrase here again"));
  }

  downloads() {
    const names = { "song.flac": "Song, flac", "song.wav": "Song, wav", "song.mp3": "Song, mp3", "converted.flac": "Voice alone", "accompaniment.flac": "Music alone", "lead.flac": "Original voice", "record.json": "Record" };
    const links = Object.entries(names).flatMap(([name, text]) => {
      const file = this.job.files.find((one) => one.name === name);
      return file ? [h("a", { className: "button", href: api.fileAddress(this.job.id, name), download: "" }, text, h("span", { className: "soft" }, size(file.bytes)))] : [];
    });
    this.reports = h("span");
    return h("div", { id: "downloads" }, h("h3", {}, "Download"), h("div", { className: "row" }, ...links, this.reports));
  }

  // Which phrases came out weak; takes a moment and is kept for the next time.
  async judge() {
    const known = localStorage.getItem(`resing.score.${this.job.id}`);
    let job = known && await api.call("GET", `/jobs/${known}`).catch(() => null);
    job ||= await api.start({ kind: "score", job: this.job.id });
    localStorage.setItem(`resing.score.${this.job.id}`, job.id);
    const meter = bar();
    this.weakList.replaceChildren(meter.element);
    this.judging = api.follow(job.id, meter.update);
    const over = await this.judging.done.catch(() => null);
    if (over?.state !== "done") { this.weakList.replaceChildren(h("p", { className: "soft" }, over?.error?.message || "")); return; }
    const { card } = await api.result(job.id);
    this.phrases = card.phrases;
    this.weak = card.phrases.filter((phrase) => phrase.weak > WEAK);
    this.findings = card.findings;
    this.drawMelody();
    this.reports.replaceChildren(h("a", { className: "button", href: api.fileAddress(job.id, "report.html"), download: "" }, "Report"));
    this.showWeak();
  }

  showWeak() {
    if (!this.weak.length) { this.weakList.replaceChildren(h("p", {}, h("span", { className: "tag good" }, "No weak phrase found"))); return; }
    this.weakList.replaceChildren(h("h3", {}, "Weak places"), h("ul", { className: "plain" }, ...this.weak.map((phrase) => {
      const words = this.findings.filter((found) => found.start_seconds < phrase.end_seconds && found.end_seconds > phrase.start_seconds)
        .sort((a, b) => b.severity - a.severity).slice(0, 2).map((found) => found.text);
      return h("li", { className: "row weak" }, h("button", { onclick: () => this.playPhrase(phrase), ariaLabel: `Play from ${clock(phrase.start_seconds)}` }, `▶ ${span(phrase)}`),
        h("span", { className: "grow soft" }, words.join("; ") || "sounds less clear than the rest"),
        h("button", { onclick: trying(() => this.again(phrase)) }, "Sing it again"));
    })));
  }

  playPhrase(phrase) {
    this.player.pause();
    this.player.seek(Math.max(0, phrase.start_seconds - 0.2));
    this.player.play(phrase.end_seconds + 0.2);
  }

  playOrPause() {
    if (this.player.playing) this.player.pause(); else this.player.play();
  }

  press(name) {
    const { player } = this;
    if (name === " ") this.playOrPause();
    else if (name === "x" || name === "X") this.hear(player.heard === "before" ? "after" : "before");
    else if (name === "ArrowLeft" || name === "ArrowRight") player.seek(player.now + (name === "ArrowLeft" ? -3 : 3));
    else if (name === "n" || name === "N") player.seek((this.weak.find((phrase) => phrase.start_seconds > player.now + 0.05) || this.weak[0] || { start_seconds: player.now }).start_seconds);
    else return false;
    return true;
  }

  refresh() {
    if (!this.toggle) return;
    const { player } = this, shown = player.heard.includes("+") ? "after" : player.heard;
    this.toggle.textContent = player.playing ? "❚❚ Pause" : "▶ Play";
    for (const [name, button] of Object.entries(this.choices)) button.setAttribute("aria-pressed", String(name === shown));
    for (const name of ["before", "after"]) this.where.querySelector(`#lane-${name}`)?.classList.toggle("heard", name === shown);
    this.clock.textContent = `${clock(Math.floor(player.now))} / ${clock(player.seconds)}`;
    if (document.activeElement !== this.seek || player.playing) this.seek.value = player.now;
    this.head.style.left = `${(100 * player.now) / Math.max(0.01, player.seconds)}%`;
  }

  pause() { this.player.pause(); }

  close() { this.judging?.stop(); this.player.close(); this.toggle = null; }
}
