// What happens everywhere, newest first.

import { get } from "../api.js";
import { attempt } from "../actions.js";
import { calmly, h, inTurn, show } from "../dom.js";
import { clock, duration, title } from "../format.js";
import { apps, deployments, listen, recent } from "../state.js";

const SHOWN = 200;
const KINDS = ["deployment", "wake", "task", "app", "environment", "artifact", "build", "webhook"];

/** What there is to say about an event beside its type. */
function told({ type, data }) {
  const end = [data.exit_code !== undefined && data.exit_code !== null && `exit code ${data.exit_code}`, data.signal, data.oom_killed && "out of memory"];
  const next = data.next_try_in_secs ? `next try in ${duration(data.next_try_in_secs)}` : null;
  const by = type === "wake.started" ? (data.by === "traffic" ? "by a request" : "by order") : null;
  const took = data.duration_ms === undefined ? null : `after ${data.duration_ms < 1000 ? `${Math.round(data.duration_ms)} ms` : duration(data.duration_ms / 1000)}`;
  const scaled = data.replicas === undefined ? null : `${data.before} → ${data.replicas}`;
  return [by, took, scaled, data.fields?.join(", "), ...(type === "task.exited" ? end : []), data.reason?.message, next].filter(Boolean).join(", ");
}

export function eventRow(event) {
  return [h("time", { datetime: event.at, text: clock(event.at) }), h("code", { text: event.type }), h("span", { class: "quiet", text: told(event) })];
}

export function events(page) {
  const list = h("ol", { class: "events card", "aria-label": "Events, newest first" });
  const kind = h("select", { "aria-label": "Kind" }, h("option", { value: "" }, "of all kinds"), KINDS.map((name) => h("option", { value: name, text: name })));
  let earlier = [];
  const about = (event) => {
    const known = deployments.get(event.deployment_id);
    const name = known ? title(apps.get(event.app_id), known) : apps.get(event.app_id)?.name;
    if (event.deployment_id) return h("a", { href: `#/deployments/${event.deployment_id}`, text: name ?? "deployment" });
    return name && h("a", { href: `#/apps/${event.app_id}`, text: name });
  };
  const draw = () => {
    const known = new Set(recent.map((event) => event.id));
    const all = [...recent, ...earlier.filter((event) => !known.has(event.id))].sort((a, b) => b.id - a.id);
    const shown = all.filter((event) => !kind.value || event.type.startsWith(`${kind.value}.`)).slice(0, SHOWN);
    show(list, shown.map((event) => h("li", {}, about(event), eventRow(event))), !shown.length && h("li", { class: "empty", text: "Nothing has happened yet." }));
  };
  const load = inTurn(() => attempt(async () => {
    const type = kind.value ? `&type=${kind.value}.` : "";
    earlier = await get(`/events?limit=${SHOWN}${type}`);
    draw();
  }));
  kind.addEventListener("change", load);
  show(page, h("div", { class: "head" }, h("h1", { text: "Events" }), kind), list);
  load();
  const redraw = calmly(draw, 300);
  return listen(({ anew }) => (anew ? load() : redraw()));
}
