// Live output: only the lines in sight are elements, however many there are.

import { get } from "../api.js";
import { attempt } from "../actions.js";
import { calmly, h, show } from "../dom.js";
import { clock } from "../format.js";
import { Stream } from "../stream.js";

const LINE = 20;
const KEPT = 10000;
const PORTION = 1000;
const STREAMS = ["stdout", "stderr", "system"];
// Colours and cursor movements of terminals.
const TERMINAL = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;

/** Follows the lines at `path` in `place`; `finished` tells whether nothing more can come. Returns how to stop. */
export function logs(place, path, finished) {
  let lines = [];
  let fitting = [];
  let held = [];
  let paused = false;
  const search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search the output" });
  const stream = h("select", { "aria-label": "Stream" }, h("option", { value: "" }, "all streams"), STREAMS.map((name) => h("option", { value: name, text: name })));
  const pause = h("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const earlier = h("button", { type: "button" }, "Earlier lines");
  const state = h("span", { class: "quiet", role: "status" });
  const space = h("div", { class: "space" });
  const view = h("div", { class: "lines", tabindex: 0, role: "log", "aria-label": "Output", "aria-live": "off" }, space);
  show(place, h("div", { class: "tools" }, search, stream, pause, earlier, state), view);

  const fits = (line) => (!stream.value || line.stream === stream.value) && line.plain.includes(search.value.toLowerCase());
  const paint = () => {
    space.style.height = `${fitting.length * LINE}px`;
    const first = Math.max(0, Math.floor(view.scrollTop / LINE) - 10);
    const last = Math.min(fitting.length, first + Math.ceil(view.clientHeight / LINE) + 20);
    show(space, fitting.slice(first, last).map((line, at) => drawn(line, (first + at) * LINE, search.value)));
  };
  const refit = () => {
    const below = view.scrollHeight - view.scrollTop - view.clientHeight < LINE * 2;
    const gone = lines.slice(0, Math.max(0, lines.length - KEPT));
    lines = lines.slice(gone.length);
    fitting = lines.filter(fits);
    state.textContent = paused && held.length ? `${held.length} new` : `${fitting.length} lines`;
    paint();
    if (below && !paused) view.scrollTop = view.scrollHeight;
    else view.scrollTop -= gone.filter(fits).length * LINE;
  };
  const soon = calmly(refit, 80);
  const again = () => {
    refit();
    view.scrollTop = view.scrollHeight;
    paint();
  };
  view.addEventListener("scroll", () => requestAnimationFrame(paint));
  search.addEventListener("input", calmly(again, 50));
  stream.addEventListener("change", again);
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
    if (!paused) {
      lines = lines.concat(held);
      held = [];
    }
    again();
  });
  earlier.addEventListener("click", () => attempt(async () => {
    const first = lines.find((line) => line.id);
    if (!first) return;
    const older = (await get(`${path}?before=${first.id}&limit=${PORTION}`)).map(read);
    earlier.disabled = older.length === 0 || lines.length + older.length > KEPT;
    lines = older.slice(Math.max(0, lines.length + older.length - KEPT)).concat(lines);
    refit();
    view.scrollTop = older.filter(fits).length * LINE;
    paint();
  }));
  const following = new Stream(`${path}/stream`, { tail: PORTION }, {
    entry: (line) => {
      (paused ? held : lines).push(read(line));
      if (held.length > KEPT) held.shift();
      soon();
    },
    gap: () => {
      lines.push(read({ stream: "system", timestamp: new Date().toISOString(), message: "… lines between are not kept" }));
      soon();
    },
    finished,
  });
  return () => following.close();
}

function read(line) {
  const message = line.message.replace(TERMINAL, "");
  return { ...line, message, plain: message.toLowerCase() };
}

function drawn(line, top, wanted) {
  const row = h("div", { class: `line ${line.stream}` },
    h("time", { datetime: line.timestamp, text: clock(line.timestamp) }),
    h("span", { class: "stream", text: line.stream }),
    h("span", { class: "message" }, marked(line, wanted.toLowerCase())));
  row.style.top = `${top}px`;
  return row;
}

function marked(line, wanted) {
  const at = wanted ? line.plain.indexOf(wanted) : -1;
  if (at < 0) return line.message;
  const end = at + wanted.length;
  return [line.message.slice(0, at), h("mark", { text: line.message.slice(at, end) }), line.message.slice(end)];
}
