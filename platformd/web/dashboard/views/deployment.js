// One deployment: how it is and why, its tasks, when it woke and slept, what it prints, what happened.

import { get } from "../api.js";
import { attempt } from "../actions.js";
import { calmly, h, outside, s, show } from "../dom.js";
import { ago, bytes, clock, percent, title, words } from "../format.js";
import { apps, deployments, fetchDeployment, listen } from "../state.js";
import { logs } from "./logs.js";
import { badge, buttons, why } from "./overview.js";
import { eventRow } from "./platform.js";

const HOUR_MS = 3600000;
const SAMPLE_MS = 5000;
const samples = new Map();

export function deployment(page, id) {
  const top = h("section");
  const bar = h("div", { class: "buttons" });
  let shownButtons = "";
  const tasks = h("section", { class: "card" });
  const history = h("section", { class: "card" });
  const output = h("section", { class: "card" });
  const happened = [];
  show(page, top, bar, h("div", { class: "pair" }, tasks, history), output);

  const drawTop = () => {
    const found = deployments.get(id);
    if (!found) return;
    const app = apps.get(found.app_id);
    document.title = `${title(app, found)} · platformd`;
    show(top,
      h("div", { class: "head" }, h("h1", { text: title(app, found) }), badge(found), found.current && h("span", { class: "mark", text: "current" }), h("span", { class: "quiet", text: `${found.environment_slug} · ${found.sha} · ${found.tasks_ready} of ${found.tasks_total} ready` })),
      app?.description && h("p", { class: "quiet", text: app.description }),
      h("p", {}, outside(found.preview_url)),
      !found.reason && h("p", { class: "why", text: why(found) }),
      found.reason && h("div", { class: "reason" }, h("strong", { text: words(found.reason.code) }), h("p", { text: found.reason.message }), found.reason.last_lines?.length && h("pre", { text: found.reason.last_lines.join("\n") })));
    // Only when others are meant: who is about to press one, or has come to it by keyboard, keeps it.
    const meant = JSON.stringify([found.status, found.phase, found.current, found.spec.replicas, app?.id]);
    if (meant === shownButtons) return;
    shownButtons = meant;
    show(bar, buttons(found, app));
  };
  const drawTasks = async () => {
    if (document.hidden) return;
    const { data } = await get(`/deployments/${id}/tasks?page_size=20`);
    const now = Date.now();
    for (const task of data) {
      if (task.cpu_percent === null) continue;
      const kept = samples.get(task.id) ?? [];
      samples.set(task.id, [...kept.filter((sample) => now - sample.at < HOUR_MS), { at: now, cpu: task.cpu_percent, memory: task.memory_bytes }]);
    }
    show(tasks, h("h2", { text: "Tasks" }), h("div", { class: "wide" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Slot", "State", "CPU", "Memory", "Restarts"].map((name) => h("th", { scope: "col", text: name })))),
      h("tbody", {}, data.map((task) => h("tr", {},
        h("th", { scope: "row", text: `${task.slot}` }),
        h("td", {}, h("span", { class: `badge ${task.frozen ? "asleep" : task.state}`, text: task.frozen ? "frozen" : task.state, title: task.reason?.message })),
        h("td", {}, percent(task.cpu_percent), chart(task.id, "cpu")),
        h("td", {}, bytes(task.memory_bytes), chart(task.id, "memory")),
        h("td", { class: "number", text: `${task.restarts}` })))))));
  };
  const drawHistory = () =>
    show(history, h("h2", { text: "Last hour" }), strip(happened), h("ol", { class: "events" }, happened.slice(-12).reverse().map((event) => h("li", {}, eventRow(event)))));

  const redrawTop = calmly(drawTop, 100);
  const redrawTasks = calmly(() => drawTasks().catch(() => {}), 300);
  const stopListening = listen(({ event }) => {
    redrawTop();
    if (event?.deployment_id !== id) return;
    happened.push(event);
    if (happened.length > 500) happened.shift();
    drawHistory();
    redrawTasks();
  });
  drawTop();
  const ticking = setInterval(redrawTasks, SAMPLE_MS); // measurements change all the time: no event tells them
  let stopLogs = () => {};
  let left = false;
  attempt(async () => {
    await fetchDeployment(id);
    happened.push(...(await get(`/deployments/${id}/events?limit=200`)));
    if (left) return;
    drawHistory();
    redrawTasks();
    const lines = h("div", { class: "output" });
    show(output, h("h2", { text: "Output" }), lines);
    stopLogs = logs(lines, id, () => ["succeeded", "failed", "cancelled"].includes(deployments.get(id)?.status));
  });
  return () => {
    left = true;
    document.title = "platformd";
    clearInterval(ticking);
    stopListening();
    stopLogs();
  };
}

/** What this page saw of a task over the last hour. */
function chart(id, what) {
  const seen = samples.get(id) ?? [];
  if (seen.length < 2) return null;
  const most = Math.max(...seen.map((sample) => sample[what]), 1);
  const from = seen[0].at;
  const span = Math.max(seen.at(-1).at - from, 1);
  const points = seen.map((sample) => `${(((sample.at - from) / span) * 80).toFixed(1)},${(18 - (sample[what] / most) * 16).toFixed(1)}`);
  return s("svg", { class: "chart", viewBox: "0 0 80 20", role: "img", "aria-label": `${what} as seen by this page` }, s("polyline", { points: points.join(" ") }));
}

/** One hour as a strip: each phase with its colour, from the events that name phases. */
function strip(happened) {
  const now = Date.now();
  const phases = happened.filter((event) => event.data.phase).map((event) => ({ at: Math.max(Date.parse(event.at), now - HOUR_MS), phase: event.data.phase }));
  const part = (one, place) => {
    const until = phases[place + 1]?.at ?? now;
    const x = ((one.at - now + HOUR_MS) / HOUR_MS) * 600;
    return s("rect", { class: `phase ${one.phase}`, x, y: 0, height: 22, width: Math.max(1, ((until - one.at) / HOUR_MS) * 600) }, s("title", {}, `${words(one.phase)} from ${clock(one.at)}`));
  };
  return s("svg", { class: "strip", viewBox: "0 0 600 22", preserveAspectRatio: "none", role: "img", "aria-label": phases.length ? `Now ${words(phases.at(-1).phase)}, since ${ago(phases.at(-1).at)}` : "Nothing happened" }, phases.map(part));
}
