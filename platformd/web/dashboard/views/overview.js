// Everything at a glance: what is awake, what sleeps, what is in trouble, and why.

import { calmly, h, show } from "../dom.js";
import { isOver, isTrouble, stateOf, title } from "../format.js";
import { apps, deployments, fetchUsage, listen } from "../state.js";
import { whileSeen } from "../seen.js";
import { fleet } from "./fleet.js";

const ROWS = 60;
const USAGE_MS = 15000;
const GROUPS = [
  ["awake", (one) => one.tasks_ready > 0 && !isTrouble(one)],
  ["changing", (one) => !isOver(one) && !isTrouble(one) && one.tasks_ready === 0 && one.phase !== "asleep"],
  ["asleep", (one) => one.phase === "asleep" && !isTrouble(one)],
  ["in trouble", isTrouble],
];

/** What one wants to see unasked: whatever lives or leads somewhere, and the last failure of each environment. */
function living(newest) {
  return (one) => !isOver(one) ? one.current || !one.superseded_by || one.tasks_total > 0 : one.current || (one.status === "failed" && newest.get(place(one)) === one.version);
}
const place = (one) => `${one.app_id} ${one.environment_slug}`;

function newestVersions() {
  const newest = new Map();
  for (const one of deployments.values()) newest.set(place(one), Math.max(one.version, newest.get(place(one)) ?? 0));
  return newest;
}

/** By app, newest version first. */
export function inOrder(a, b) {
  const names = (apps.get(a.app_id)?.name ?? "").localeCompare(apps.get(b.app_id)?.name ?? "");
  return names || a.app_id.localeCompare(b.app_id) || b.version - a.version;
}

export function overview(page) {
  let limit = ROWS;
  let group = null;
  const search = h("input", { type: "search", placeholder: "Filter by app, environment or state  ( / )", "aria-label": "Filter", "aria-keyshortcuts": "/" });
  const every = h("input", { type: "checkbox" });
  const choices = GROUPS.map(([name, fits]) => {
    const count = h("b", { text: "0" });
    const button = h("button", { type: "button", "aria-pressed": "false", onclick: () => choose(name) }, count, name);
    return { name, fits, count, button };
  });
  const total = h("span", { class: "quiet total" });
  const table = fleet("Deployments");
  const nothing = h("p", { class: "card empty" });
  const more = h("button", { type: "button" }, "Show more");
  show(page, h("div", { class: "head" }, h("h1", { text: "Apps" }), total),
    h("div", { class: "counts", role: "group", "aria-label": "Show only" }, choices.map((choice) => choice.button)),
    h("div", { class: "tools" }, search, h("label", { class: "check" }, every, "old versions, too")), table.element, nothing, more);

  const draw = () => {
    const wanted = search.value.trim().toLowerCase();
    const found = [...deployments.values()].filter(every.checked ? () => true : living(newestVersions()));
    const chosen = choices.find((choice) => choice.name === group);
    const fits = (one) => `${title(apps.get(one.app_id), one)} ${one.environment_slug} ${stateOf(one)}`.toLowerCase().includes(wanted);
    const shown = found.filter((one) => (!chosen || chosen.fits(one)) && fits(one)).sort(inOrder);
    for (const choice of choices) choice.count.textContent = found.filter(choice.fits).length;
    total.textContent = `${apps.size} ${apps.size === 1 ? "app" : "apps"}`;
    table.draw(shown.slice(0, limit));
    table.element.hidden = shown.length === 0;
    nothing.hidden = shown.length > 0;
    nothing.textContent = deployments.size ? "Nothing fits." : "Nothing is deployed yet: Deploy, above, begins.";
    more.hidden = shown.length <= limit;
  };
  const choose = (name) => {
    group = group === name ? null : name;
    for (const choice of choices) choice.button.setAttribute("aria-pressed", String(choice.name === group));
    draw();
  };
  search.addEventListener("input", draw);
  every.addEventListener("change", draw);
  more.addEventListener("click", () => {
    limit += ROWS * 3;
    draw();
  });
  draw();
  const stops = [listen(calmly(draw, 200)), whileSeen(fetchUsage, USAGE_MS), whileSeen(draw, 1000)];
  return () => stops.forEach((stop) => stop());
}
