// What happens everywhere, and the actors that look after it.

import { get } from "../api.js";
import { attempt } from "../actions.js";
import { calmly, h, show } from "../dom.js";
import { clock } from "../format.js";
import { apps, listen, recent } from "../state.js";

export function eventRow(event) {
  const said = event.data.reason?.message ?? "";
  return [h("time", { datetime: event.at, text: clock(event.at) }), " ",
    h("code", { text: event.type }), " ", h("span", { class: "quiet", text: said })];
}

export function events(page) {
  const list = h("ol", { class: "events" });
  show(page, h("div", { class: "head" }, h("h1", { text: "Events" })), list);
  let earlier = [];
  const draw = () => {
    const all = [...recent, ...earlier.filter((event) => !recent.some((known) => known.id === event.id))].slice(0, 200);
    show(list, all.map((event) => h("li", {}, eventRow(event), event.deployment_id && h("a", { href: `#/deployments/${event.deployment_id}`, text: apps.get(event.app_id)?.name ?? "deployment" }))));
  };
  attempt(async () => {
    earlier = (await get("/events?limit=100")).reverse();
    draw();
  });
  return listen(calmly(draw, 300));
}

export function actors(page) {
  const list = h("ul", { class: "tree" });
  const again = h("button", { type: "button", onclick: () => draw() }, "Look again");
  show(page, h("div", { class: "head" }, h("h1", { text: "Actors" }), again), list);
  const item = (actor, under) => h("li", {}, h("code", { text: actor.key }), h("span", { class: `badge ${actor.state}`, text: actor.state }),
    h("span", { class: "quiet", text: `${actor.mailbox.facts + actor.mailbox.commands} waiting, ${actor.restarts} restarts${actor.last_failure ? `, last failure: ${actor.last_failure.error}` : ""}` }),
    under.length ? h("ul", {}, under.map((task) => item(task, []))) : null);
  const draw = () => attempt(async () => {
    const { data, total } = await get("/actors?page_size=100");
    const known = new Set(data.map((actor) => actor.key));
    const roots = data.filter((actor) => !known.has(actor.parent));
    show(list, roots.map((actor) => item(actor, data.filter((task) => task.parent === actor.key))), total > data.length && h("li", { text: `and ${total - data.length} more` }));
  });
  draw();
}
