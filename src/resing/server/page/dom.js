// Small things for building the page: elements, words for figures, a word to the user.

export function h(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !["list", "form"].includes(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds)), hours = Math.floor(whole / 3600);
  const rest = `${Math.floor(whole / 60) % 60}:${String(whole % 60).padStart(2, "0")}`;
  return hours ? `${hours}:${rest.padStart(5, "0")}` : rest;
}

export const left = (seconds) => (seconds === null || seconds === undefined ? "" : seconds < 1 ? "nearly done" : seconds < 60 ? `${Math.ceil(seconds)} s left` : `${clock(seconds)} left`);
export const size = (bytes) => (bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
export const percent = (share) => `${Math.round(100 * share)} %`;
export const key = (semitones) => (semitones === 0 ? "as it is" : `${semitones > 0 ? "+" : "−"}${Math.abs(semitones)} semitone${Math.abs(semitones) === 1 ? "" : "s"}`);
const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];
export const note = (midi) => NAMES[((Math.round(midi) % 12) + 12) % 12] + (Math.floor(Math.round(midi) / 12) - 1);
export const midi = (hz) => 69 + 12 * Math.log2(hz / 440);

export function say(text) {
  const line = h("p", {}, text);
  document.querySelector("#toast").append(line);
  setTimeout(() => line.remove(), 7000);
}

// Runs something that may fail, and says so; a button stays off meanwhile.
export const trying = (work) => async (event) => {
  const button = event?.currentTarget?.tagName === "BUTTON" ? event.currentTarget : null;
  if (button) button.disabled = true;
  try {
    return await work(event);
  } catch (error) {
    say(error.message);
    if (!error.status && error.name !== "Error") console.error(error);
  } finally {
    if (button) button.disabled = false;
  }
};

export function confirmed(text, yes) {
  const dialog = document.querySelector("#ask");
  return new Promise((resolve) => {
    dialog.replaceChildren(h("p", {}, text), h("div", { className: "row" },
      h("button", { className: "danger", onclick: () => dialog.close("yes") }, yes),
      h("button", { onclick: () => dialog.close("") }, "Keep it")));
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.returnValue = "";
    dialog.showModal();
  });
}

// A place to drop files on, or to choose them.
export function dropZone(text, multiple, take, ...more) {
  const input = h("input", { type: "file", multiple, hidden: true, accept: "audio/*,video/*,.flac,.opus,.m4a,.aiff,.caf,.wma,.ape,.wv", onchange: () => { take([...input.files]); input.value = ""; } });
  const zone = h("div", { className: "drop" }, h("p", {}, text), h("div", { className: "row" },
    h("button", { className: "main", onclick: () => input.click() }, multiple ? "Choose files" : "Choose a file"), ...more), input);
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); take([...event.dataTransfer.files]); });
  return zone;
}

export const STAGES = {
  open: "Opening the voice", look: "Looking at the sound", search: "Finding the best passage", separate: "Taking voice and music apart",
  listen: "Listening to the melody", sing: "Singing", retry: "Singing a phrase again", mix: "Mixing", finish: "Writing the files", score: "Judging phrase by phrase",
  report: "Writing the report", prepare: "Listening to the recordings", train: "Learning the voice", package: "Packing the voice",
};

// A bar that shows how far a job is; `update` takes the job.
export function bar(cancel) {
  const text = h("span", { className: "grow" }), time = h("span", { className: "soft" }), meter = h("progress", { max: 1, value: 0 });
  const element = h("div", { className: "progress", role: "group" }, h("div", { className: "row apart" }, text, time,
    cancel && h("button", { onclick: trying(cancel) }, "Cancel")), meter);
  const update = (job) => {
    const { stage, share, seconds_left: rest, remark } = job.progress;
    text.textContent = job.cancelling ? "Cancelling…" : job.state === "queued"
      ? (job.ahead ? `Waiting; ${job.ahead} before it` : "About to begin") : (STAGES[stage] || stage || "Beginning") + (remark ? `: ${remark}` : "");
    time.textContent = job.state === "running" ? [share ? percent(share) : "", left(rest)].filter(Boolean).join(" · ") : "";
    if (job.state === "queued") meter.removeAttribute("value"); else meter.value = share;
  };
  return { element, update };
}
