// Two recordings that play as one: both run, one is heard, and the switch keeps the place.

const FADE = 0.015;

export class Player {
  constructor(changed) {
    this.changed = changed;
    this.context = null;
    this.tracks = new Map();
    this.heard = "";
    this.place = 0;
    this.playing = false;
    this.end = null;
  }

  async add(name, content, gain = 1) {
    this.context ||= new AudioContext();
    const buffer = await this.context.decodeAudioData(content);
    this.tracks.set(name, { buffer, level: gain, source: null, gain: null });
    this.heard ||= name;
    return buffer;
  }

  get seconds() {
    return Math.max(0, ...[...this.tracks.values()].map((track) => track.buffer.duration));
  }

  get now() {
    return this.playing ? Math.min(this.seconds, this.place + this.context.currentTime - this.began) : this.place;
  }

  // Which tracks are heard: one by its name, or several joined by +.
  listens(name) {
    return this.heard.split("+").includes(name);
  }

  play(until = null) {
    if (this.playing || !this.tracks.size) return;
    if (this.place >= this.seconds - 0.05) this.place = 0;
    this.context.resume();
    this.began = this.context.currentTime + 0.03;
    this.end = until;
    for (const [name, track] of this.tracks) {
      track.source = new AudioBufferSourceNode(this.context, { buffer: track.buffer });
      track.gain = new GainNode(this.context, { gain: this.listens(name) ? track.level : 0 });
      track.source.connect(track.gain).connect(this.context.destination);
      track.source.start(this.began, this.place);
    }
    this.playing = true;
    this.tick();
    this.changed();
  }

  pause() {
    if (!this.playing) return;
    this.place = Math.max(0, this.now);
    this.playing = false;
    for (const track of this.tracks.values()) {
      track.source.stop();
      track.gain.disconnect();
    }
    this.changed();
  }

  seek(seconds, until = null) {
    const was = this.playing;
    this.pause();
    this.place = Math.min(this.seconds, Math.max(0, seconds));
    if (was) this.play(until);
    this.changed();
  }

  hear(names) {
    this.heard = names;
    this.levels();
    this.changed();
  }

  levels() {
    if (!this.playing) return;
    for (const [name, track] of this.tracks) track.gain.gain.setTargetAtTime(this.listens(name) ? track.level : 0, this.context.currentTime, FADE);
  }

  tick() {
    if (!this.playing) return;
    if (this.now >= this.seconds || (this.end !== null && this.now >= this.end)) this.pause();
    else requestAnimationFrame(() => this.tick());
    this.changed();
  }

  close() {
    this.pause();
    this.context?.close();
    this.tracks.clear();
  }
}
