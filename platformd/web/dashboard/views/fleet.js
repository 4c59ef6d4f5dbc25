// A table of deployments that stays put: rows are kept and filled in anew, so that focus and selection survive.

import { area, strip } from "../charts.js";
import { h, outside, show } from "../dom.js";
import { appName, bytes, isTrouble, percent, stateOf, why, words } from "../format.js";
import { apps, phases, usage } from "../state.js";

const COLUMNS = ["Deployment", "Environment", "State", "Ready", "Last hour", "In flight", "CPU", "Memory", "Why"];

export const badge = (found) => h("span", { class: `badge ${stateOf(found)}`, text: words(stateOf(found)) });

/** {element, draw(deployments)}: the rows are the deployments, in that order. */
export function fleet(label) {
  const rows = new Map();
  const body = h("tbody", { role: "rowgroup" });
  const heads = h("tr", { role: "row" }, COLUMNS.map((name) => h("th", { role: "columnheader", scope: "col", text: name })));
  const table = h("table", { role: "table", "aria-label": label }, h("thead", { role: "rowgroup" }, heads), body);
  const element = h("div", { class: "card fleet wide" }, table);

  return { element, draw: (shown) => drawRows(body, rows, shown) };
}

function drawRows(body, rows, shown) {
  const now = Date.now();
  const wanted = shown.map((found, place) => {
    if (!rows.has(found.id)) rows.set(found.id, makeRow());
    const row = rows.get(found.id);
    fill(row, found, now, shown[place - 1]?.app_id === found.app_id);
    return row.element;
  });
  const kept = new Set(shown.map((found) => found.id));
  for (const id of rows.keys()) if (!kept.has(id)) rows.delete(id);
  if (wanted.length === body.children.length && wanted.every((row, place) => body.children[place] === row)) return;
  const focused = document.activeElement;
  body.replaceChildren(...wanted);
  if (body.contains(focused)) focused.focus({ preventScroll: true });
}

function makeRow() {
  const app = h("a");
  const link = h("a");
  const cell = (given) => h("td", { role: "cell", ...given });
  const row = {
    app,
    link,
    head: h("th", { role: "rowheader", scope: "row" }, app, " ", link),
    place: cell({ class: "place" }),
    state: cell({}),
    ready: cell({ class: "number", "data-label": "ready" }),
    hour: cell({ class: "hour" }),
    requests: cell({ class: "number", "data-label": "in flight" }),
    cpu: cell({ class: "number", "data-label": "CPU" }),
    memory: cell({ class: "number", "data-label": "memory" }),
    why: cell({ class: "why" }),
    drawn: {},
  };
  row.element = h("tr", { role: "row" }, row.head, row.place, row.state, row.ready, row.hour, row.requests, row.cpu, row.memory, row.why);
  return row;
}

function fill(row, found, now, again) {
  const app = apps.get(found.app_id);
  const used = usage.get(found.id);
  const changes = phases.get(found.id) ?? [];
  text(row.app, appName(app, found));
  row.app.href = `#/apps/${found.app_id}`;
  text(row.link, `v${found.version}`);
  row.link.href = `#/deployments/${found.id}`;
  row.head.className = again ? "again" : "";
  text(row.ready, found.phase === "done" ? "" : `${found.tasks_ready}/${found.tasks_total}`);
  text(row.requests, used ? `${used.requests.in_flight}${used.requests.held ? ` +${used.requests.held} held` : ""}` : "");
  text(row.cpu, used ? percent(used.cpu_percent) : "");
  text(row.memory, used ? bytes(used.memory_bytes) : "");
  const last = found.reason?.last_lines?.at(-1);
  row.why.className = isTrouble(found) ? "why bad" : "why";
  once(row, "why", [why(found, now), last], () => show(row.why, why(found, now), last && " ", last && h("code", { text: last.slice(0, 200) })));
  once(row, "place", [found.environment_slug, found.current, found.preview_url], () =>
    show(row.place, outside(found.preview_url, found.environment_slug), found.current && " ", found.current && h("span", { class: "tag", text: "current" })));
  once(row, "state", [stateOf(found)], () => show(row.state, badge(found)));
  once(row, "hour", [found.phase, changes.length, Math.floor(now / 30000)], () =>
    show(row.hour, strip(changes, now, found.phase, Date.parse(found.created_at))));
}

function text(element, wanted) {
  if (element.textContent !== wanted) element.textContent = wanted;
}

function once(row, name, meant, draw) {
  const signature = meant.join("|");
  if (row.drawn[name] === signature) return;
  row.drawn[name] = signature;
  draw();
}

/** A task's last hour in a few pixels. */
export const spark = (samples, field, interval, now, span, label) => area(samples, field, interval, now, { span, label, kind: "spark", height: 20 });
