// The tasks of a deployment: those that live, then the last that ended; each with its last hour.

import { get } from "../api.js";
import { spanOf } from "../charts.js";
import { h, inTurn, show } from "../dom.js";
import { ago, bytes, percent } from "../format.js";
import { spark } from "./fleet.js";

const ENDED = 5;
const HOURS = 20;

/** Returns how to draw them anew, which rejects when they cannot be had. */
export function tasks(place, id) {
  const hours = new Map();
  return inTurn(async () => {
    const { data, total } = await get(`/deployments/${id}/tasks?page_size=100`);
    const live = data.filter((task) => !task.ended_at && !["stopped", "failed"].includes(task.state)).sort((a, b) => a.slot - b.slot);
    const shown = [...live, ...data.filter((task) => !live.includes(task)).slice(0, ENDED)];
    await Promise.all(live.slice(0, HOURS).map(async (task) => hours.set(task.id, await get(`/tasks/${task.id}/usage`))));
    show(place, h("div", { class: "head" }, h("h2", { text: "Tasks" }), h("span", { class: "quiet small", text: total > shown.length ? `the last ${shown.length} of ${total}` : "" })),
      shown.length ? table(shown, hours) : h("p", { class: "quiet", text: "There has been none yet." }));
  });
}

function table(shown, hours) {
  const heads = ["Slot", "State", "Since", "CPU", "Memory", "Address", "Restarts", "End"];
  return h("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "Tasks" }, h("table", {},
    h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col", text: name })))),
    h("tbody", {}, shown.map((task) => row(task, hours.get(task.id))))));
}

function row(task, hour) {
  const now = Date.now();
  const drawn = (field, name) => hour?.samples.length > 1 && spark(hour.samples, field, hour.interval_secs, now, spanOf(Date.parse(hour.samples[0].at), now), `${name} of slot ${task.slot} over the last hour`);
  const end = [task.exit_code === null ? null : `exit code ${task.exit_code}`, task.signal, task.oom_killed && "out of memory"].filter(Boolean).join(", ");
  return h("tr", {},
    h("th", { scope: "row", text: `${task.slot}` }),
    h("td", {}, h("span", { class: `badge ${task.frozen ? "frozen" : task.state}`, text: task.frozen ? "frozen" : task.state })),
    h("td", { class: "number", text: ago(task.ended_at ?? task.ready_at ?? task.started_at ?? task.created_at) }),
    h("td", { class: "number" }, percent(task.cpu_percent), drawn("cpu_percent", "CPU")),
    h("td", { class: "number" }, bytes(task.memory_bytes), drawn("memory_bytes", "Memory")),
    h("td", { class: "number", text: task.address ?? "" }),
    h("td", { class: "number", text: `${task.restarts}` }),
    h("td", { class: "quiet", text: task.reason?.message ?? end }));
}
