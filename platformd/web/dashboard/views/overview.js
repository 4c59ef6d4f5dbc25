// Apps, their environments and what runs there.

import { orders, rollBack } from "../actions.js";
import { calmly, h, outside, show } from "../dom.js";
import { ago, because, duration, stateOf, title, words } from "../format.js";
import { apps, deployments, listen } from "../state.js";

const ROWS = 60;

export const badge = (found) => h("span", { class: `badge ${stateOf(found)}`, text: words(stateOf(found)) });

export function overview(page) {
  let limit = ROWS;
  let every = false;
  const search = h("input", { type: "search", placeholder: "Filter by app, environment or state", "aria-label": "Filter" });
  const current = h("input", { type: "checkbox" });
  const counts = h("p", { class: "counts" });
  const list = h("tbody");
  const more = h("button", { type: "button" }, "Show more");
  const table = h("table", { class: "fleet" },
    h("thead", {}, h("tr", {}, ["Deployment", "Environment", "State", "Ready", "Why", "Changed", "Address"].map((name) => h("th", { scope: "col", text: name })))), list);
  show(page, h("div", { class: "head" }, h("h1", { text: "Apps" }), counts),
    h("div", { class: "tools" }, search, h("label", { class: "check" }, current, "finished and old versions, too")), h("div", { class: "wide" }, table), more);

  const draw = () => {
    const wanted = search.value.trim().toLowerCase();
    const found = [...deployments.values()].filter((one) => every || one.status === "running" || one.status === "pending" || one.current || (one.status === "failed" && !one.superseded_by));
    const fits = (one) => `${title(apps.get(one.app_id), one)} ${one.environment_slug} ${stateOf(one)}`.toLowerCase().includes(wanted);
    const shown = found.filter(fits).sort((a, b) => {
      const names = (apps.get(a.app_id)?.name ?? "").localeCompare(apps.get(b.app_id)?.name ?? "");
      return names || b.version - a.version;
    });
    const awake = found.filter((one) => one.tasks_ready > 0).length;
    const asleep = found.filter((one) => one.phase === "asleep").length;
    counts.textContent = `${apps.size} apps · ${awake} awake · ${asleep} asleep · ${found.filter((one) => one.status === "failed").length} failed`;
    show(list, shown.slice(0, limit).map(row));
    if (!shown.length) show(list, h("tr", {}, h("td", { colspan: 7, class: "empty", text: deployments.size ? "Nothing fits." : "Nothing is deployed yet: Deploy, above, begins." })));
    more.hidden = shown.length <= limit;
  };
  search.addEventListener("input", draw);
  current.addEventListener("change", () => {
    every = current.checked;
    draw();
  });
  more.addEventListener("click", () => {
    limit += ROWS * 3;
    draw();
  });
  draw();
  return listen(calmly(draw, 200));
}

function row(found) {
  const app = apps.get(found.app_id);
  return h("tr", {},
    h("th", { scope: "row" }, h("a", { href: `#/deployments/${found.id}`, title: app?.description }, title(app, found))),
    h("td", {}, found.environment_slug, found.current && h("span", { class: "mark", text: "current" })),
    h("td", {}, badge(found)),
    h("td", { class: "number", text: `${found.tasks_ready}/${found.tasks_total}` }),
    h("td", { class: "why", text: why(found) }),
    h("td", { class: "quiet", text: ago(found.updated_at) }),
    h("td", {}, outside(found.preview_url, found.preview_url.replace(/^https?:\/\//, ""))));
}

/** Why it is as it is, in one line. */
export function why(found) {
  if (found.reason) return found.reason.message;
  const sleeps = found.idle_deadline ? `sleeps in ${duration((new Date(found.idle_deadline) - Date.now()) / 1000)} if nobody calls` : "";
  return [found.awake_because.length ? `awake: ${because(found.awake_because)}` : "", sleeps].filter(Boolean).join("; ");
}

/** The buttons of a deployment and, where it is the current one, of going back. */
export function buttons(found, app) {
  const back = app && found.current && h("button", { type: "button", onclick: () => rollBack(app, found.environment_slug) }, "Roll back");
  return [...orders(found, title(app, found)), back];
}
