// Pictures on canvas: waveform, range, spectrogram, melody, curves. Each takes a canvas as wide as it is shown.

import { note } from "./dom.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// What each canvas shows, to be drawn again when the window or the system's colours change.
const shown = new Map();
let waiting = null;

function redraw() {
  for (const [canvas, draw] of shown) if (canvas.isConnected) { if (canvas.clientWidth) draw(); } else shown.delete(canvas);
}

addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redraw, 150); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

export function draw(canvas, picture, ...values) {
  shown.set(canvas, () => picture(canvas, ...values));
  picture(canvas, ...values);
}

function paper(canvas) {
  const scale = Math.min(2, window.devicePixelRatio || 1), width = canvas.clientWidth || 600, height = canvas.clientHeight || 80;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "11px system-ui, sans-serif";
  return [pen, width, height];
}

export function waveform(canvas, peaks) {
  const [pen, width, height] = paper(canvas), step = width / peaks.length;
  pen.fillStyle = colour("--accent");
  peaks.forEach((peak, at) => {
    const tall = Math.max(1, peak * (height - 4));
    pen.fillRect(at * step, (height - tall) / 2, Math.max(1, step - 0.5), tall);
  });
}

// Notes of a song, moved into a key, over the notes that a voice has: [low, high] as MIDI numbers.
export function range(canvas, notes, transpose, low, high) {
  const [pen, width, height] = paper(canvas), base = height - 14;
  const sung = Object.entries(notes).map(([name, minutes]) => [Number(name) + transpose, minutes]);
  const first = Math.min(low, 40) - 2, last = Math.max(high, 84) + 2, step = width / (last - first);
  const most = Math.max(...sung.map(([, minutes]) => minutes), 1e-9), x = (midi) => (midi - first) * step;
  pen.fillStyle = colour("--line");
  pen.fillRect(x(low - 0.5), 0, x(high + 0.5) - x(low - 0.5), base);
  for (const [midi, minutes] of sung) {
    const tall = Math.max(2, (minutes / most) * (base - 2));
    pen.fillStyle = midi >= low - 0.6 && midi <= high + 0.6 ? colour("--good") : colour("--warm");
    pen.fillRect(x(midi) - step * 0.4, base - tall, step * 0.8, tall);
  }
  pen.fillStyle = colour("--soft");
  pen.textAlign = "center";
  for (const midi of [Math.round(low), Math.round(high)]) pen.fillText(note(midi), Math.min(width - 12, Math.max(12, x(midi))), height - 2);
}

const SIZE = 2048, LOW = 60, HIGH = 16000;

function fft(re, im) {
  const size = re.length;
  for (let i = 1, j = 0; i < size; i += 1) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) { [re[i], re[j]] = [re[j], re[i]]; [im[i], im[j]] = [im[j], im[i]]; }
  }
  for (let length = 2; length <= size; length <<= 1) {
    const angle = (-2 * Math.PI) / length, half = length / 2;
    for (let k = 0; k < half; k += 1) {
      const c = Math.cos(angle * k), s = Math.sin(angle * k);
      for (let i = k; i < size; i += length) {
        const a = i + half, x = re[a] * c - im[a] * s, y = re[a] * s + im[a] * c;
        re[a] = re[i] - x; im[a] = im[i] - y; re[i] += x; im[i] += y;
      }
    }
  }
}

const PALETTE = [[4, 3, 18], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]];

function shade(value) {
  const place = Math.min(0.999, Math.max(0, value)) * (PALETTE.length - 1), at = Math.floor(place), rest = place - at;
  return PALETTE[at].map((from, part) => from + (PALETTE[at + 1][part] - from) * rest);
}

// Draws in slices, so that the page stays awake.
export async function spectrogram(canvas, buffer) {
  const [pen, width, height] = paper(canvas), columns = canvas.width, rows = canvas.height;
  const left = buffer.getChannelData(0), right = buffer.getChannelData(buffer.numberOfChannels > 1 ? 1 : 0);
  const hann = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
  const bins = Array.from({ length: rows }, (_, row) => Math.min(SIZE / 2 - 1, (LOW * (HIGH / LOW) ** (1 - row / rows) * SIZE) / buffer.sampleRate));
  const image = pen.createImageData(columns, rows);
  for (let column = 0; column < columns; column += 1) {
    const middle = Math.round(((column + 0.5) / columns) * buffer.length), re = new Float32Array(SIZE), im = new Float32Array(SIZE);
    for (let i = 0; i < SIZE; i += 1) {
      const at = middle - SIZE / 2 + i;
      if (at >= 0 && at < buffer.length) re[i] = (left[at] + right[at]) * 0.5 * hann[i];
    }
    fft(re, im);
    for (let row = 0; row < rows; row += 1) {
      const bin = Math.floor(bins[row]), rest = bins[row] - bin;
      const power = (k) => re[k] * re[k] + im[k] * im[k];
      const level = 10 * Math.log10((1 - rest) * power(bin) + rest * power(bin + 1) + 1e-9);
      const [r, g, b] = shade((level + 40) / 85), at = 4 * (row * columns + column);
      image.data.set([r, g, b, 255], at);
    }
    if (column % 120 === 119) await new Promise((go) => { setTimeout(go); });
  }
  pen.putImageData(image, 0, 0);
  pen.fillStyle = "#fffb";
  for (const [hz, name] of [[200, "200"], [1000, "1k"], [5000, "5k"]]) pen.fillText(name, width - 28, height * (1 - Math.log(hz / LOW) / Math.log(HIGH / LOW)));
}

// Two melodies in cents, the first moved into the second's key, over phrases shaded by how weak they are.
export function melody(canvas, curves, transpose, seconds, phrases = []) {
  const [pen, width, height] = paper(canvas);
  const before = curves.before.map((cents) => (cents === null ? null : cents + 100 * transpose));
  const all = [...before, ...curves.after].filter((cents) => cents !== null).sort((a, b) => a - b);
  const low = (all[Math.floor(all.length * 0.02)] ?? 5700) - 250, high = (all[Math.floor(all.length * 0.98)] ?? 6900) + 350;
  const x = (time) => (time / seconds) * width, y = (cents) => height - ((cents - low) / (high - low)) * height;
  for (const phrase of phrases) {
    pen.fillStyle = phrase.weak > 0.5 ? colour("--bad") : colour("--warm");
    pen.globalAlpha = 0.1 + 0.25 * phrase.weak;
    pen.fillRect(x(phrase.start_seconds), 0, x(phrase.end_seconds) - x(phrase.start_seconds), height);
  }
  pen.globalAlpha = 1;
  pen.textAlign = "left";
  let written = Infinity;
  for (let cents = Math.ceil(low / 100) * 100; cents < high; cents += 100) {
    const black = [1, 3, 6, 8, 10].includes((cents / 100) % 12);
    if (black || (high - low > 3000 && (cents / 100) % 12)) continue;
    pen.fillStyle = colour("--line");
    pen.fillRect(0, y(cents), width, 1);
    if (written - y(cents) < 12) continue;
    written = y(cents);
    pen.fillStyle = colour("--soft");
    pen.fillText(note(cents / 100), 2, written - 2);
  }
  for (const [curve, name, thick] of [[before, "--soft", 3.5], [curves.after, "--accent", 1.6]]) {
    pen.strokeStyle = colour(name);
    pen.lineWidth = thick;
    pen.beginPath();
    curve.forEach((cents, at) => {
      const joined = cents !== null && at && curve[at - 1] !== null && Math.abs(curve[at - 1] - cents) < 600;
      if (cents !== null) pen[joined ? "lineTo" : "moveTo"](x((at + 0.5) * curves.step), y(cents));
    });
    pen.stroke();
  }
}

// Losses of a training by step, and what its weights are judged by.
export function training(canvas, told, steps) {
  const [pen, width, height] = paper(canvas), x = (step) => 30 + (step / Math.max(1, steps)) * (width - 36);
  const [judged, words] = told.validation.some((one) => "audition" in one) ? ["audition", "amiss in auditions"] : ["score", "held-out error"];
  const lines = [[told.losses.map((one) => [one.step, one.loss]), "--soft", "loss"], [told.validation.map((one) => [one.step, one[judged]]), "--accent", words]];
  lines.forEach(([points, name, text], number) => {
    const values = points.map(([, value]) => value).filter(Number.isFinite);
    pen.fillStyle = colour(name);
    pen.fillText(text, 36 + number * 50, 12);
    if (!values.length) return;
    const low = Math.min(...values), high = Math.max(...values, low + 1e-6), y = (value) => height - 6 - ((value - low) / (high - low)) * (height - 26);
    pen.strokeStyle = colour(name);
    pen.lineWidth = number ? 2.5 : 1;
    pen.beginPath();
    points.forEach(([step, value]) => pen.lineTo(x(step), y(value)));
    pen.stroke();
    if (number) points.forEach(([step, value]) => pen.fillRect(x(step) - 2, y(value) - 2, 4, 4));
  });
}
