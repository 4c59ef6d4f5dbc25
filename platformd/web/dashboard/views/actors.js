// The actors that look after deployments and tasks, as a tree; what none of them could handle. For operators.

import { get, post } from "../api.js";
import { ask, attempt } from "../actions.js";
import { calmly, h, inTurn, show } from "../dom.js";
import { ago, clock, title } from "../format.js";
import { apps, deployments, listen } from "../state.js";

const PAGE = 100;

export function actors(page) {
  const list = h("ul", { class: "tree card", "aria-label": "Actors" });
  const letters = h("section", { class: "card", "aria-label": "Dead letters" });
  const state = h("select", { "aria-label": "State" }, [["", "live and dormant"], ["quarantined", "quarantined"], ["dormant", "dormant"], ["idle", "idle"], ["waiting", "waiting"]].map(([value, text]) => h("option", { value, text })));
  const again = h("button", { type: "button", onclick: () => draw() }, "Look again");
  const more = h("button", { type: "button", hidden: true, onclick: () => draw(shown + PAGE) }, "Show more");
  let shown = PAGE;
  let found = [];
  show(page, h("div", { class: "head" }, h("h1", { text: "Actors" }), state, again), list, more, letters);

  const load = inTurn(() => attempt(async () => {
    const query = state.value ? `&state=${state.value}` : "";
    const pages = Array.from({ length: Math.ceil(shown / PAGE) }, (_, place) => get(`/actors?page_size=${PAGE}&page=${place + 1}${query}`));
    const answers = await Promise.all(pages);
    found = answers.flatMap((answer) => answer.data);
    drawTree();
    more.hidden = answers[0].total <= found.length;
    showLetters(letters, await get("/dead-letters?page_size=20"));
  }));
  const draw = (wanted = shown) => {
    shown = wanted;
    load();
  };
  const drawTree = () => {
    const known = new Set(found.map((actor) => actor.key));
    const under = grouped(found);
    const roots = found.filter((actor) => !known.has(actor.parent));
    show(list, roots.map((actor) => item(actor, under, draw)), !roots.length && h("li", { class: "empty", text: "There are none." }));
  };
  state.addEventListener("change", () => draw(PAGE));
  draw();
  const refresh = calmly(() => draw(), 2000);
  const named = calmly(drawTree, 300);
  return listen(({ event, anew }) => (event || anew ? refresh() : named()));
}

function grouped(found) {
  const under = new Map();
  for (const actor of found) under.set(actor.parent, [...(under.get(actor.parent) ?? []), actor]);
  return under;
}

function item(actor, under, draw) {
  const tasks = under.get(actor.key) ?? [];
  const waiting = actor.mailbox.facts + actor.mailbox.commands;
  const facts = [waiting && `${waiting} messages wait`, actor.restarts && `${actor.restarts} restarts`, actor.parked_since && `parked ${ago(actor.parked_since)}`].filter(Boolean).join(", ");
  const button = (word, text) => h("button", { type: "button", onclick: async () => {
    if (!(await ask({ title: `${word} ${actor.key}?`, text, button: word }))) return;
    await attempt(() => post(`/actors/${encodeURIComponent(actor.key)}/${word.toLowerCase()}`), `${actor.key}: ${word.toLowerCase()} ordered`);
    draw();
  } }, word);
  return h("li", {}, h("div", { class: "actor" }, name(actor), h("span", { class: `badge ${actor.state}`, text: actor.state }), h("span", { class: "quiet", text: facts }),
    actor.quarantined ? button("Resume", "It is made anew and takes up what waits for it.") : button("Restart", "It is replaced between two messages; what it looks after goes on."),
    actor.last_failure && h("span", { class: "small quiet", text: `last failure ${ago(actor.last_failure.at)}: ${actor.last_failure.error}` })),
  tasks.length ? h("ul", {}, tasks.map((task) => item(task, under, draw))) : null);
}

function name(actor) {
  const known = actor.kind === "deployment" && deployments.get(actor.id);
  return known
    ? [h("a", { href: `#/deployments/${actor.id}`, text: title(apps.get(known.app_id), known) }), h("code", { class: "quiet", text: actor.key.slice(0, 19) })]
    : h("code", { text: actor.key });
}

function showLetters(place, { data, total }) {
  const letter = (one) => h("li", {}, h("time", { datetime: one.at, text: clock(one.at) }), h("code", { text: one.key }), h("span", { text: `${one.message}: ${one.error}` }));
  show(place, h("div", { class: "head" }, h("h2", { text: "Dead letters" }), h("span", { class: "quiet small", text: total ? `${total} messages that no actor handled` : "None: every message was handled." })),
    data.length ? h("ol", { class: "events" }, data.map(letter)) : null);
}
