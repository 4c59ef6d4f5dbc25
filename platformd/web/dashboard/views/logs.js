// Live output: only the lines in sight are elements, however many there are.

import { calmly, h, show } from "../dom.js";
import { clock } from "../format.js";
import { Stream } from "../stream.js";

const LINE = 20;
const KEPT = 10000;

/** Follows the output of deployment `id` in `place`; `finished` tells whether it is over. Returns how to stop. */
export function logs(place, id, finished) {
  let lines = [];
  let fitting = [];
  let held = [];
  let paused = false;
  const search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search the output" });
  const stream = h("select", { "aria-label": "Stream" }, ["all streams", "stdout", "stderr", "system"].map((name) => h("option", { value: name === "all streams" ? "" : name, text: name })));
  const pause = h("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const state = h("span", { class: "quiet", role: "status" });
  const space = h("div", { class: "space" });
  const view = h("div", { class: "lines", tabindex: 0, role: "log", "aria-label": "Output", "aria-live": "off" }, space);
  show(place, h("div", { class: "tools" }, search, stream, pause, state), view);

  const fits = (line) => (!stream.value || line.stream === stream.value) && line.message.toLowerCase().includes(search.value.toLowerCase());
  const paint = () => {
    space.style.height = `${fitting.length * LINE}px`;
    const first = Math.max(0, Math.floor(view.scrollTop / LINE) - 10);
    const last = Math.min(fitting.length, first + Math.ceil(view.clientHeight / LINE) + 20);
    show(space, fitting.slice(first, last).map((line, place) => drawn(line, (first + place) * LINE)));
    state.textContent = paused && held.length ? `${held.length} new` : `${fitting.length} lines`;
  };
  const soon = calmly(() => {
    const below = view.scrollHeight - view.scrollTop - view.clientHeight < LINE * 2;
    if (lines.length > KEPT) lines = lines.slice(-KEPT);
    fitting = lines.filter(fits);
    paint();
    if (below && !paused) view.scrollTop = view.scrollHeight;
  }, 80);
  const again = () => {
    soon();
    requestAnimationFrame(() => (view.scrollTop = view.scrollHeight));
  };
  view.addEventListener("scroll", () => requestAnimationFrame(paint));
  search.addEventListener("input", again);
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
  const following = new Stream(`/deployments/${id}/logs/stream`, { tail: 1000 }, {
    entry: (line) => {
      (paused ? held : lines).push(line);
      if (held.length > KEPT) held.shift();
      soon();
    },
    gap: () => {
      lines.push({ stream: "system", timestamp: new Date().toISOString(), message: "… lines between are not kept" });
      soon();
    },
    finished,
  });
  return () => following.close();
}

function drawn(line, top) {
  const row = h("div", { class: `line ${line.stream}` },
    h("time", { datetime: line.timestamp, text: clock(line.timestamp) }),
    h("span", { class: "stream", text: line.stream }),
    h("span", { class: "message", text: line.message }));
  row.style.top = `${top}px`;
  return row;
}
