// Builds: those of an app as a table, and one of them with what it prints.

import { get, post } from "../api.js";
import { ask, attempt } from "../actions.js";
import { calmly, h, inTurn, show } from "../dom.js";
import { ago, duration } from "../format.js";
import { apps, listen } from "../state.js";
import { logs } from "./logs.js";

const FINAL = ["succeeded", "failed", "cancelled"];

const badge = (build) => h("span", { class: `badge ${build.state}`, text: build.state });
const nameOf = (build) => (build.commit?.sha ?? build.id).slice(0, 8);
const took = (build) => (build.started_at ? duration((Date.parse(build.ended_at ?? new Date()) - Date.parse(build.started_at)) / 1000) : "");

export function buildsTable(data) {
  const row = (build) => h("tr", {},
    h("th", { scope: "row" }, h("a", { href: `#/builds/${build.id}` }, nameOf(build))),
    h("td", {}, badge(build)),
    h("td", { text: build.branch ?? build.ref ?? build.origin }),
    h("td", { class: "quiet", text: build.reason?.message ?? build.commit?.message?.split("\n")[0] ?? "" }),
    h("td", { class: "number", text: took(build) }),
    h("td", { class: "number", text: ago(build.created_at) }),
    h("td", {}, build.deployment_id && h("a", { href: `#/deployments/${build.deployment_id}` }, "deployment")));
  return h("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "Builds" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Build", "State", "Branch", "", "Took", "Begun", "Led to"].map((name) => (name ? h("th", { scope: "col", text: name }) : h("td"))))),
    h("tbody", {}, data.map(row))));
}

export function build(page, id) {
  const top = h("section", { "aria-label": "Build" });
  const output = h("section", { class: "card", "aria-label": "Output" }, h("h2", { text: "Output" }));
  let found = null;
  let stopLogs = () => {};
  show(page, top, output);
  const load = inTurn(async () => {
    found = await get(`/builds/${id}`);
    const app = apps.get(found.app_id);
    const cancel = !FINAL.includes(found.state) && h("button", { type: "button", class: "danger-quiet", onclick: async () => {
      if (await ask({ title: "Cancel this build?", text: "What it has done so far is thrown away.", button: "Cancel build", danger: true })) await attempt(() => post(`/builds/${id}/cancel`), "The build is cancelled");
    } }, "Cancel build");
    show(top, h("p", { class: "crumb" }, h("a", { href: "#/" }, "Apps"), " / ", app && h("a", { href: `#/apps/${app.id}` }, app.name)),
      h("div", { class: "head" }, h("h1", { text: `Build ${nameOf(found)}` }), badge(found), h("span", { class: "quiet", text: [found.branch, took(found)].filter(Boolean).join(" · ") }), cancel),
      found.commit && h("p", { class: "quiet", text: `${found.commit.author}: ${found.commit.message.split("\n")[0]}` }),
      found.reason && h("div", { class: "reason" }, h("p", {}, h("code", { text: found.reason.code }), ` ${found.reason.message}`), found.reason.last_lines?.length && h("pre", { tabindex: 0, text: found.reason.last_lines.join("\n") })),
      found.deployment_id && h("p", {}, h("a", { href: `#/deployments/${found.deployment_id}` }, "Its deployment")));
  });
  let left = false;
  attempt(async () => {
    await load();
    if (left) return;
    const lines = h("div", { class: "output merged" });
    output.append(lines);
    stopLogs = logs(lines, `/builds/${id}/logs`, () => FINAL.includes(found?.state));
  });
  const again = calmly(() => attempt(load), 300);
  const stop = listen(({ event, anew }) => (anew || event?.build_id === id) && again());
  return () => {
    left = true;
    stop();
    stopLogs();
  };
}
