// One app: its environments and what each address leads to, all its versions, builds and what GitHub sent.

import { get } from "../api.js";
import { attempt, release, rollBack } from "../actions.js";
import { calmly, h, inTurn, outside, show } from "../dom.js";
import { ago } from "../format.js";
import { whileSeen } from "../seen.js";
import { apps, deployments, fetchDeployment, fetchUsage, listen } from "../state.js";
import { buildsTable } from "./builds.js";
import { badge, fleet } from "./fleet.js";
import { inOrder } from "./overview.js";

const ROWS = 50;
const USAGE_MS = 15000;
const RARELY_MS = 60000;

export function app(page, id) {
  const head = h("section", { "aria-label": "App" });
  const places = h("section", { class: "card", "aria-label": "Environments" });
  const table = fleet("Versions");
  const more = h("button", { type: "button", onclick: () => draw(Infinity) }, "Show all versions");
  const builds = h("section", { class: "card", hidden: true, "aria-label": "Builds" });
  const deliveries = h("section", { class: "card", hidden: true, "aria-label": "Webhook deliveries" });
  let environments = [];
  let limit = ROWS;
  show(page, head, places, table.element, more, builds, deliveries);

  const draw = (wanted = limit) => {
    limit = wanted;
    const found = apps.get(id);
    if (!found) return;
    document.title = `${found.name} · platformd`;
    const own = [...deployments.values()].filter((one) => one.app_id === id).sort(inOrder);
    show(head, h("p", { class: "crumb" }, h("a", { href: "#/" }, "Apps")),
      h("div", { class: "head" }, h("h1", { text: found.name }), h("span", { class: "quiet", text: `${found.namespace} · made ${ago(found.created_at)}` })),
      found.description && h("p", { class: "quiet", text: found.description }));
    table.draw(own.slice(0, limit));
    table.element.hidden = own.length === 0;
    more.hidden = own.length <= limit;
    drawPlaces(places, found, environments, load);
  };
  const load = inTurn(async () => {
    if (!apps.has(id)) apps.set(id, await get(`/apps/${id}`));
    ({ environments } = await get(`/apps/${id}/environments`));
    const missing = environments.map((one) => one.current_deployment).filter((one) => one && !deployments.has(one));
    await Promise.allSettled(missing.map(fetchDeployment));
    draw();
    const [made, sent] = await Promise.all([optional(`/builds?app_id=${id}&page_size=20`), optional(`/apps/${id}/webhook-deliveries?page_size=20`)]);
    builds.hidden = !made?.data?.length;
    if (!builds.hidden) show(builds, h("div", { class: "head" }, h("h2", { text: "Builds" })), buildsTable(made.data));
    deliveries.hidden = !sent?.data?.length;
    if (!deliveries.hidden) show(deliveries, h("div", { class: "head" }, h("h2", { text: "Webhook deliveries" })), deliveriesTable(sent.data));
  });
  const reload = calmly(() => attempt(load), 500);
  attempt(load);
  const stops = [
    listen(calmly(draw, 200)),
    listen(({ event, anew }) => (anew || event?.app_id === id) && reload()),
    whileSeen(fetchUsage, USAGE_MS),
    whileSeen(draw, RARELY_MS),
  ];
  return () => {
    document.title = "platformd";
    stops.forEach((stop) => stop());
  };
}

/** What a server of another release may not have. */
async function optional(path) {
  try {
    return await get(path);
  } catch (problem) {
    if (problem.status === 404) return null;
    throw problem;
  }
}

function drawPlaces(place, app, environments, changed) {
  const row = (one) => {
    const current = deployments.get(one.current_deployment);
    return h("tr", {},
      h("th", { scope: "row", text: one.slug }),
      h("td", {}, (one.urls.length ? one.urls : [one.url]).filter(Boolean).map((url) => h("div", {}, outside(url)))),
      h("td", {}, current ? [h("a", { href: `#/deployments/${current.id}`, text: `v${current.version}` }), " ", badge(current)] : h("span", { class: "quiet", text: "nothing deployed" })),
      h("td", {}, h("div", { class: "buttons" },
        current && h("button", { type: "button", onclick: () => rollBack(app, one.slug) }, "Roll back"),
        one.held_since && h("button", { type: "button", onclick: async () => (await release(app, one.slug)) && changed() }, `Release (held since ${ago(one.held_since)})`))));
  };
  const next = h("div", {}, h("div", { class: "head" }, h("h2", { text: "Environments" })),
    h("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "Environments" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Name", "Address", "Leads to", ""].map((name) => (name ? h("th", { scope: "col", text: name }) : h("td"))))),
      h("tbody", {}, environments.map(row)))));
  if (next.innerHTML !== place.firstChild?.innerHTML) show(place, next); // whoever is about to press a button keeps it
}

function deliveriesTable(data) {
  const row = (one) => h("tr", {},
    h("td", { class: "number", text: ago(one.received_at) }),
    h("td", {}, h("code", { text: [one.event, one.action].filter(Boolean).join(".") })),
    h("td", { text: [one.ref?.replace("refs/heads/", ""), one.commit_sha?.slice(0, 8)].filter(Boolean).join(" ") }),
    h("td", {}, h("span", { class: `badge ${one.build_status ?? one.verdict}`, text: one.build_status ? `${one.verdict}, ${one.build_status}` : one.verdict })),
    h("td", { class: "quiet", text: one.reason?.message }),
    h("td", {}, one.deployment_id ? h("a", { href: `#/deployments/${one.deployment_id}` }, "deployment") : one.build_id && h("a", { href: `#/builds/${one.build_id}` }, "build")));
  return h("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "Webhook deliveries" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Came", "Event", "Ref", "Verdict", "Why", "Led to"].map((name) => h("th", { scope: "col", text: name })))), h("tbody", {}, data.map(row))));
}
