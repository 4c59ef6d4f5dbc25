// What one can do to a deployment: each asks first, then says how it went.

import { call, post } from "./api.js";
import { h } from "./dom.js";
import { isOver } from "./format.js";

/** Resolves to the form's data, or null when it was left. */
export function ask({ title, text, fields = [], button, danger = false }) {
  return new Promise((answer) => {
    const name = `dialog-${Math.random().toString(36).slice(2)}`;
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id: name, text: title }),
      text && h("p", { text }),
      fields,
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", onclick: () => dialog.close() }, "Back"),
        h("button", { type: "submit", value: "yes", class: danger ? "danger" : "primary", autofocus: fields.length === 0 }, button),
      ),
    );
    const dialog = h("dialog", { "aria-labelledby": name }, form);
    dialog.addEventListener("close", () => {
      const chosen = dialog.returnValue === "yes" ? new FormData(form) : null;
      dialog.remove();
      answer(chosen);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export function notice(text, bad = false) {
  const shown = h("p", { class: bad ? "notice bad" : "notice", text });
  document.getElementById("notices").append(shown);
  setTimeout(() => shown.remove(), bad ? 12000 : 5000);
}

export async function attempt(work, done) {
  try {
    const answer = await work();
    if (done) notice(done);
    return answer;
  } catch (problem) {
    const faults = (problem.faults || []).map((fault) => `${fault.pointer}: ${fault.message}`);
    notice([problem.message, ...faults].join("\n"), true);
    return null;
  }
}

const field = (label, input) => h("label", {}, label, input);

/** The buttons that make sense for `deployment` now; `name` is what to call it. */
export function orders(deployment, name) {
  const over = isOver(deployment);
  const asleep = deployment.phase === "asleep";
  const waiting = deployment.phase === "waiting_for_build";
  const path = `/deployments/${deployment.id}`;
  const plain = (label, word, text, done, danger = false) =>
    h("button", {
      type: "button",
      class: danger ? "danger-quiet" : null,
      onclick: async () => {
        const sure = await ask({ title: `${label} ${name}?`, text, button: label, danger });
        if (sure) await attempt(() => post(`${path}/${word}`), done);
      },
    }, label);
  const scale = h("button", { type: "button", onclick: () => scaleTo(deployment, name) }, "Scale");
  const promote = h("button", { type: "button", onclick: () => promoteTo(deployment, name) }, "Promote");
  if (over) return waiting ? [] : [promote];
  return [
    asleep && plain("Wake", "wake", "It is started now, without waiting for a request.", `Waking ${name}`),
    !asleep && !waiting && plain("Sleep", "sleep", "Requests in flight end first; the next request wakes it.", `${name} goes to sleep`),
    scale,
    !waiting && h("button", { type: "button", onclick: () => keepAwake(deployment, name) }, "Keep awake"),
    !asleep && !waiting && plain("Restart", "restart", "Its tasks are replaced one after the other.", `Restarting ${name}`),
    !waiting && promote,
    plain("Cancel", "cancel", deployment.current
      ? "Its environment's address leads here: it will lead nowhere until another version is deployed."
      : "It is drained and stopped, for good.", `${name} is cancelled`, true),
  ].filter(Boolean);
}

async function scaleTo(deployment, name) {
  const input = h("input", { name: "replicas", type: "number", min: 0, max: 100, required: true, value: deployment.spec.replicas, autofocus: true });
  const said = await ask({ title: `Scale ${name}`, text: "0 puts it to sleep.", fields: [field("Replicas", input)], button: "Scale" });
  if (said) await attempt(() => call("PATCH", `/deployments/${deployment.id}`, { spec: { replicas: Number(said.get("replicas")) } }), `${name} gets ${said.get("replicas")} replicas`);
}

async function promoteTo(deployment, name) {
  const input = h("input", { name: "environment", required: true, pattern: "[a-z0-9\\-]{1,32}", value: "production", autofocus: true, autocomplete: "off" });
  const said = await ask({ title: `Promote ${name}`, text: "The same artifact becomes a new version there.", fields: [field("Environment", input)], button: "Promote" });
  if (!said) return;
  const made = await attempt(() => post(`/deployments/${deployment.id}/promote`, { environment: said.get("environment") }), `${name} is promoted to ${said.get("environment")}`);
  if (made) location.hash = `#/deployments/${made.deployment_id}`;
}

async function keepAwake(deployment, name) {
  const input = h("input", { name: "minutes", type: "number", min: 0, max: 1440, required: true, value: 60, autofocus: true });
  const said = await ask({ title: `Keep ${name} awake`, text: "It is woken if it sleeps. 0 ends it.", fields: [field("Minutes", input)], button: "Keep awake" });
  if (said) await attempt(() => post(`/deployments/${deployment.id}/keep-awake`, { for_secs: Number(said.get("minutes")) * 60 }), `${name} stays awake for ${said.get("minutes")} min`);
}

/** Lets webhooks deploy to an environment again that was rolled back. */
export async function release(app, environment) {
  const sure = await ask({ title: `Release ${environment} of ${app.name}?`, text: "It was rolled back, and has been left alone by webhooks since. The next push deploys there again.", button: "Release" });
  return sure ? attempt(() => post(`/apps/${app.id}/environments/${environment}/release`), `${environment} is released`) : null;
}

/** Back to what was there before, in one environment of an app. */
export async function rollBack(app, environment) {
  const sure = await ask({ title: `Roll ${app.name} back in ${environment}?`, text: "What was ready there before becomes a new version and takes over the address.", button: "Roll back", danger: true });
  if (!sure) return;
  const made = await attempt(() => post(`/apps/${app.id}/rollback`, { environment }), `${environment} is rolled back`);
  if (made) location.hash = `#/deployments/${made.deployment_id}`;
}
