// The server's API, the only way in for this page too: requests, uploads, and jobs with their secrets.

const SECRETS = "resing.secrets";

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.message);
    this.status = status;
    this.code = problem.code;
  }
}

export async function call(method, path, body, headers = {}) {
  const options = { method, headers: { ...headers } };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(`/api${path}`, options);
  } catch {
    throw new Refused(0, { code: "gone", message: "The server does not answer; start it again: resing serve" });
  }
  if (!answer.ok) throw await refusal(answer);
  return answer.status === 204 ? null : answer.json();
}

async function refusal(answer) {
  const told = await answer.json().catch(() => ({}));
  return new Refused(answer.status, told.error || { code: "error", message: `The server said ${answer.status}.` });
}

// Sends a file; `progress` hears the share that is sent.
export function upload(file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/uploads?name=${encodeURIComponent(file.name || "recording")}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => progress?.(event.total ? event.loaded / event.total : 0);
    request.onerror = () => reject(new Refused(0, { code: "gone", message: `${file.name}: could not be sent; is the server running, and the file not too large?` }));
    request.onload = () => (request.status === 201
      ? resolve(request.response)
      : reject(new Refused(request.status, request.response?.error || { message: `The server said ${request.status}.` })));
    request.send(file);
  });
}

function secrets() {
  try {
    return JSON.parse(localStorage.getItem(SECRETS)) || {};
  } catch {
    return {};
  }
}

export const secretOf = (job) => secrets()[job];

function keep(job, secret) {
  const known = { ...secrets(), [job]: secret };
  const names = Object.keys(known);
  while (names.length > 300) delete known[names.shift()];
  localStorage.setItem(SECRETS, JSON.stringify(known));
}

export async function start(request) {
  const made = await call("POST", "/jobs", request);
  keep(made.job.id, made.secret);
  return made.job;
}

export const opened = (job, path) => call("GET", `/jobs/${job}/${path}`, undefined, { "X-Job-Secret": secretOf(job) || "" });
export const result = async (job) => (await opened(job, "result")).result;
export const forget = (job) => call("DELETE", `/jobs/${job}`, undefined, { "X-Job-Secret": secretOf(job) || "" });
export const fileAddress = (job, name) => `/api/jobs/${job}/files/${name}?secret=${encodeURIComponent(secretOf(job) || "")}`;

export async function bytes(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw await refusal(answer);
  return answer.arrayBuffer();
}

// Follows a job until it is over; `told` hears of every change. Survives a server that restarts.
export function follow(job, told) {
  let ended = false, stream = null;
  const stop = () => { ended = true; stream?.close(); };
  const done = new Promise((resolve, reject) => {
    const hear = (now) => {
      if (ended) return;
      told?.(now);
      if (["done", "failed", "cancelled"].includes(now.state)) { stop(); resolve(now); }
    };
    const gone = (error) => { stop(); reject(error); };
    const ask = async () => {
      if (ended) return;
      try {
        hear(await call("GET", `/jobs/${job}`));
        if (!ended) look();
      } catch (error) {
        if (error.status === 404) gone(error); else setTimeout(ask, 2000);
      }
    };
    const look = () => {
      stream = new EventSource(`/api/jobs/${job}/events`);
      stream.onmessage = (event) => hear(JSON.parse(event.data));
      stream.addEventListener("gone", () => gone(new Refused(404, { code: "unknown", message: "The job is gone." })));
      stream.onerror = () => { stream.close(); setTimeout(ask, 1500); };
    };
    ask();
  });
  return { done, stop };
}
