// One deployment: how it is and why, its last hour, its tasks, what it prints, what happened.

import { get } from "../api.js";
import { attempt, orders, rollBack } from "../actions.js";
import { area, lately, most, spanOf, strip } from "../charts.js";
import { calmly, h, inTurn, outside, show } from "../dom.js";
import { because, bytes, isOver, isTrouble, percent, sleepsIn, title, why, words } from "../format.js";
import { whileSeen } from "../seen.js";
import { apps, deployments, fetchDeployment, listen, phases, remember } from "../state.js";
import { eventRow } from "./events.js";
import { badge } from "./fleet.js";
import { logs } from "./logs.js";
import { tasks } from "./tasks.js";

const USAGE_MS = 5000;
const SHOWN_EVENTS = 100;

export function deployment(page, id) {
  const top = h("section", { "aria-label": "State" });
  const bar = h("div", { class: "buttons" });
  const hour = h("section", { class: "card hour", "aria-label": "Last hour" });
  const list = h("section", { class: "card", "aria-label": "Tasks" });
  const output = h("section", { class: "card", "aria-label": "Output" });
  const history = h("section", { class: "card", "aria-label": "Events" });
  const happened = [];
  let used = { samples: [], interval_secs: 15, requests: { in_flight: 0, held: 0 } };
  let shownButtons = "";
  show(page, top, bar, hour, list, output, history);
  const drawTasks = tasks(list, id);

  const drawTop = () => {
    const found = deployments.get(id);
    if (!found) return;
    const app = apps.get(found.app_id);
    document.title = `${title(app, found)} · platformd`;
    redraw(top, head(found, app));
    // Only when others are meant: who is about to press one, or has come to it by keyboard, keeps it.
    const meant = JSON.stringify([found.status, found.phase, found.current, found.spec.replicas, app?.id]);
    if (meant === shownButtons) return;
    shownButtons = meant;
    const back = app && found.current && h("button", { type: "button", onclick: () => rollBack(app, found.environment_slug) }, "Roll back");
    show(bar, orders(found, title(app, found)), back);
  };
  const drawHour = () => {
    const found = deployments.get(id);
    if (found) show(hour, lastHour(found, used, Date.now()));
  };
  const drawHistory = () => {
    const rows = happened.slice(-SHOWN_EVENTS).reverse().map((event) => h("li", {}, eventRow(event)));
    show(history, h("div", { class: "head" }, h("h2", { text: "Events" })), h("ol", { class: "events short", tabindex: 0, "aria-label": "Events, newest first" }, rows));
  };
  const measure = async () => {
    const [usage] = await Promise.all([get(`/deployments/${id}/usage`), fetchDeployment(id), drawTasks()]);
    used = usage;
    drawHour();
  };

  const redrawTop = calmly(drawTop, 100);
  const redrawAll = calmly(() => {
    drawHour();
    drawHistory();
    drawTasks().catch(() => {});
  }, 300);
  const loadHistory = inTurn(async () => {
    const told = await get(`/deployments/${id}/events?limit=500`);
    const known = new Set(happened.map((event) => event.id));
    happened.push(...told.filter((event) => !known.has(event.id)));
    happened.sort((a, b) => a.id - b.id);
    told.forEach(remember);
    drawHistory();
  });
  const stops = [listen(({ event, anew }) => {
    redrawTop();
    if (anew) loadHistory().catch(() => {});
    if (event?.deployment_id !== id) return;
    happened.push(event);
    if (happened.length > 500) happened.shift();
    redrawAll();
  })];
  drawTop();
  drawHour();
  let left = false;
  attempt(async () => {
    await fetchDeployment(id);
    await loadHistory();
    if (left) return;
    stops.push(whileSeen(measure, USAGE_MS), whileSeen(drawTop, 1000));
    const lines = h("div", { class: "output" });
    show(output, h("h2", { text: "Output" }), lines);
    const over = () => deployments.has(id) && isOver(deployments.get(id));
    stops.push(logs(lines, `/deployments/${id}/logs`, over));
  });
  return () => {
    left = true;
    document.title = "platformd";
    stops.forEach((stop) => stop());
  };
}

function head(found, app) {
  const facts = [found.environment_slug, found.commit ? `commit ${found.commit.sha.slice(0, 8)}` : found.sha,
    found.phase === "done" ? null : `${found.tasks_ready} of ${found.tasks_total} ready`, found.spec.image ?? "native"];
  const held = [because(found), sleepsIn(found, Date.now())].filter(Boolean).join("; ");
  const awake = found.reason ? held : why(found);
  return [
    h("p", { class: "crumb" }, h("a", { href: "#/" }, "Apps"), " / ", app && h("a", { href: `#/apps/${app.id}` }, app.name)),
    h("div", { class: "head" }, h("h1", { text: title(app, found) }), badge(found), found.current && h("span", { class: "tag", text: "current" }),
      found.stale && h("span", { class: "tag", text: "last known: its engine is away" }), h("span", { class: "quiet", text: facts.filter(Boolean).join(" · ") })),
    app?.description && h("p", { class: "quiet", text: app.description }),
    h("p", {}, outside(found.preview_url)),
    found.superseded_by && h("p", { class: "quiet" }, "superseded by ", h("a", { href: `#/deployments/${found.superseded_by}` }, "a newer version")),
    found.reason && reason(found),
    awake && h("p", { class: "why" }, h("span", { class: "quiet", text: found.tasks_total > 0 ? "Awake: " : "Asleep: " }), awake),
  ];
}

function reason(found) {
  const { code, message, exit_code: exit, signal, last_lines: lines } = found.reason;
  const end = [exit === undefined ? null : `exit code ${exit}`, signal].filter(Boolean).join(", ");
  return h("div", { class: isTrouble(found) ? "reason" : "reason mild" }, h("p", {}, h("code", { text: code }), " ", message, end && h("span", { class: "quiet", text: ` (${end})` })),
    lines?.length && h("pre", { tabindex: 0, "aria-label": "Its last lines", text: lines.join("\n") }));
}

/** Replaces what `place` shows unless it would look the same: a link that is about to be pressed stays. */
function redraw(place, parts) {
  const next = show(h("div"), parts);
  if (next.innerHTML !== place.innerHTML) place.replaceChildren(...next.childNodes);
}

function lastHour(found, used, now) {
  const { samples, interval_secs: interval, requests } = used;
  const last = found.tasks_total > 0 ? samples.at(-1) : null;
  const limit = found.spec.resources;
  const since = Date.parse(found.created_at);
  const span = spanOf(since, now);
  const held = requests.held ? ` +${requests.held} held` : "";
  const chart = (name, field, shown, said, hint) => h("div", {},
    h("span", { class: "most", text: samples.length ? `at most ${shown(most(samples, field))}` : "" }), h("h2", { text: name }),
    h("span", { class: "value", text: said }), h("span", { class: "quiet small", text: hint ? ` ${hint}` : "" }),
    area(samples, field, interval, now, { span, label: samples.length ? `${name} over the last hour: now ${said}, at most ${shown(most(samples, field))}` : `${name}: nothing was measured in the last hour` }));
  return [
    h("div", { class: "head" }, h("h2", { text: lately(span) }), legend(phases.get(found.id) ?? [], found.phase)),
    strip(phases.get(found.id) ?? [], now, found.phase, since, span),
    h("div", { class: "axis", "aria-hidden": "true" }, h("span", { text: `${span / 60000} min ago` }), h("span", { text: `${span / 120000} min ago` }), h("span", { text: "now" })),
    h("div", { class: "charts" },
      chart("CPU", "cpu_percent", percent, last ? percent(last.cpu_percent) : "–", limit.cpu_policy === "cap" ? `at most ${limit.cpu} a task` : `share ${limit.cpu} a task`),
      chart("Memory", "memory_bytes", bytes, last ? bytes(last.memory_bytes) : "–", `of ${limit.memory} a task`),
      chart("Requests in flight", "requests_in_flight", String, `${requests.in_flight}${held}`)),
  ];
}

function legend(changes, phase) {
  const names = new Set([...changes.map((change) => change.before), ...changes.map((change) => change.phase), phase]);
  return h("div", { class: "legend" }, [...names].filter(Boolean).map((name) => h("span", { class: `badge ${name}`, text: words(name) })));
}
