// A form that deploys a binary or an image.

import { attempt } from "../actions.js";
import { post, upload } from "../api.js";
import { h, show } from "../dom.js";
import { apps } from "../state.js";

const labelled = (label, input, hint) => h("label", {}, label, input, hint && h("span", { class: "hint", text: hint }));

export function deploy(page) {
  const names = h("datalist", { id: "apps" }, [...apps.values()].map((app) => h("option", { value: app.name })));
  const progress = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Upload" });
  const go = h("button", { type: "submit", class: "primary" }, "Deploy");
  const form = h("form", { class: "card form" },
    labelled("App", h("input", { name: "app", required: true, list: "apps", maxlength: 40, pattern: "[A-Za-z0-9\\-]+", autocomplete: "off" }), "Letters, digits and hyphens; made if there is none of that name."), names,
    labelled("Environment", h("input", { name: "environment", required: true, value: "development", pattern: "[a-z0-9\\-]{1,32}" })),
    labelled("Executable", h("input", { name: "file", type: "file" }), "An ELF binary or a script with #!, listening on $HOST:$PORT …"),
    labelled("Image", h("input", { name: "image", placeholder: "registry/name:tag", autocomplete: "off" }), "… or what a container engine runs."),
    labelled("Port", h("input", { name: "port", type: "number", min: 1, max: 65535, placeholder: "assigned" }), "Only where it cannot be told by $PORT."),
    labelled("Replicas", h("input", { name: "replicas", type: "number", min: 0, max: 100, value: 1, required: true })),
    labelled("Sleeps after", h("input", { name: "idle", type: "number", min: 1, value: 300, required: true }), "Seconds without a request."), progress, go);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    const made = await attempt(() => submit(new FormData(form), (share) => {
      progress.hidden = false;
      progress.value = share;
    }), "Deployed");
    go.disabled = false;
    progress.hidden = true;
    if (made) location.hash = `#/deployments/${made.id}`;
  });
  show(page, h("div", { class: "head" }, h("h1", { text: "Deploy" })), form);
}

async function submit(given, progress) {
  const file = given.get("file");
  const image = given.get("image").trim();
  if (!image && !file.size) throw new Error("choose an executable or name an image");
  if (image && file.size) throw new Error("choose an executable or name an image, not both");
  const app = [...apps.values()].find((known) => known.name === given.get("app") && known.namespace === "default") ?? (await post("/apps", { name: given.get("app") }));
  const what = image ? { process_type: "docker", image } : { artifact_id: await upload(file, progress) };
  const port = given.get("port") ? { networking: { port: Number(given.get("port")) } } : {};
  return post(`/apps/${app.id}/deployments`, { ...what, ...port, environment: given.get("environment"), replicas: Number(given.get("replicas")), idle_timeout_secs: Number(given.get("idle")) });
}
