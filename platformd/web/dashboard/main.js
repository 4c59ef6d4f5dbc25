// Starts the page: which view the address names, the connection's state, the form for a token.

import { accepted, keepToken, onUnauthorised } from "./api.js";
import { ask } from "./actions.js";
import { h, show } from "./dom.js";
import { follow } from "./state.js";
import { actors } from "./views/actors.js";
import { app } from "./views/app.js";
import { build } from "./views/builds.js";
import { deploy } from "./views/deploy.js";
import { deployment } from "./views/deployment.js";
import { events } from "./views/events.js";
import { overview } from "./views/overview.js";

const VIEWS = [
  [/^#\/deployments\/([0-9a-f-]{36})$/, deployment],
  [/^#\/apps\/([0-9a-f-]{36})$/, app],
  [/^#\/builds\/([0-9a-f-]{36})$/, build],
  [/^#\/deploy$/, deploy],
  [/^#\/events$/, events],
  [/^#\/actors$/, actors],
  [/./, overview],
];
const main = document.getElementById("main");
let leave = () => {};

function route() {
  leave();
  const address = location.hash || "#/";
  const [pattern, view] = VIEWS.find(([candidate]) => candidate.test(address));
  const page = h("div", { class: "page" });
  show(main, page);
  leave = view(page, ...(pattern.exec(address).slice(1))) || (() => {});
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === address) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

onUnauthorised(async () => {
  for (let text = "This server asks for a token; platformd token create makes one."; ; text = "The server does not take that token.") {
    const input = h("input", { name: "token", type: "password", required: true, autocomplete: "off", autofocus: true });
    const said = await ask({ title: "Sign in", text, fields: [h("label", {}, "Token", input)], button: "Sign in" });
    if (said && (await accepted(said.get("token")))) return keepToken(said.get("token"));
  }
});

const shown = document.getElementById("connection");
follow((state) => {
  shown.textContent = state;
  shown.className = `connection ${state}`;
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("keydown", (event) => {
  const search = document.querySelector("main input[type=search]");
  if (event.key !== "/" || !search || event.target.matches("input, select, textarea") || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  search.focus();
});
addEventListener("hashchange", () => {
  route();
  main.focus();
});
route();
