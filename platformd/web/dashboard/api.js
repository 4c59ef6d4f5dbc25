// Calls of the API, and the token where one is needed.

const BASE = "/api/v1";
const KEPT = "platformd.token";

export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `the server answered ${status}`);
    this.status = status;
    this.code = document.code || "";
    this.faults = document.errors || [];
  }
}

let askForToken = () => Promise.reject(new Problem(401, { detail: "a token is needed" }));
let asking = null;

/** `ask` shows a form and resolves when a token was entered. */
export function onUnauthorised(ask) {
  askForToken = ask;
}

export const token = () => sessionStorage.getItem(KEPT);
export const keepToken = (value) => sessionStorage.setItem(KEPT, value);
export const dropToken = () => sessionStorage.removeItem(KEPT);

const headers = () => (token() ? { Authorization: `Bearer ${token()}` } : {});

/** The JSON of the answer, null when it has none. Asks for a token as long as the server wants another. */
export async function call(method, path, body) {
  const sent = { method, headers: { Accept: "application/json", ...headers() }, cache: "no-store" };
  if (body !== undefined) {
    sent.headers["Content-Type"] = "application/json";
    sent.body = JSON.stringify(body);
  }
  const response = await fetch(BASE + path, sent);
  if (response.status === 401) {
    await login();
    return call(method, path, body);
  }
  const text = await response.text();
  const json = text ? parse(text) : null;
  if (!response.ok) throw new Problem(response.status, json || {});
  return json;
}

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);

/** Whether `candidate` is one that the server takes. */
export async function accepted(candidate) {
  const response = await fetch(`${BASE}/version`, { headers: { Authorization: `Bearer ${candidate}` }, cache: "no-store" });
  return response.ok || response.status === 403;
}

/** Every item of an offset list, page by page; `seen` is called with each page. */
export async function all(path, seen) {
  const joined = path.includes("?") ? "&" : "?";
  const page = (number) => get(`${path}${joined}page_size=100&page=${number}`);
  const first = await page(1);
  seen(first.data);
  const pages = Math.ceil(first.total / 100);
  for (let next = 2; next <= pages; next += 4) {
    const numbers = [next, next + 1, next + 2, next + 3].filter((number) => number <= pages);
    for (const found of await Promise.all(numbers.map(page))) seen(found.data);
  }
}

/** An artifact of `file`; `progress` hears a share from 0 to 1. */
export async function upload(file, progress) {
  const artifact = await post("/artifacts", { name: file.name.slice(0, 200) || "binary", content_type: "application/octet-stream" });
  await new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${BASE}/artifacts/${artifact.id}/upload`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onerror = () => failed(new Error("the upload broke off"));
    request.onload = () => (request.status < 300 ? done() : failed(new Problem(request.status, parse(request.responseText))));
    request.send(file);
  });
  return artifact.id;
}

/** The address of a stream with a ticket, good for one connection; asks for a token where one is needed. */
export async function streamAddress(path, query) {
  const parameters = new URLSearchParams(query);
  parameters.set("ticket", (await post("/stream-tickets")).ticket);
  return `${BASE}${path}?${parameters}`;
}

export function login() {
  asking ??= askForToken().finally(() => {
    asking = null;
  });
  return asking;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
