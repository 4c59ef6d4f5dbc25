// What the page knows: apps, deployments, their phases over the last hour, kept fresh by the one stream of events;
// and what is used now, which no event tells and is asked for while somebody looks.

import { all, get, Problem } from "./api.js";
import { HOUR_MS } from "./charts.js";
import { calmly, inTurn } from "./dom.js";
import { Stream } from "./stream.js";

const MANY = 25;
const RECENT = 500;
const ASKED = 1000;

export const apps = new Map();
export const deployments = new Map();
/** By deployment: {at, phase, before} of the last hour, oldest first. */
export const phases = new Map();
/** By deployment: what its tasks used at the last sample, for those that are awake. */
export const usage = new Map();
export const recent = [];

const listeners = new Set();
const stale = new Set();
let behind = false;

/** `listener` gets {event} for what happened, {anew: true} when events may have been missed, {} when what is known changed; returns how to stop. */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(what) {
  for (const listener of [...listeners]) listener(what);
}

/** Starts following; `state` hears how the connection is. */
export function follow(state) {
  return new Stream("/events", { tail: 0 }, {
    state: (how) => {
      state(how);
      if (how === "live" && behind) load();
    },
    fresh: load,
    gap: load,
    entry: (event) => {
      recent.unshift(event);
      if (recent.length > RECENT) recent.length = RECENT;
      remember(event);
      take(event);
      tell({ event });
    },
  });
}

/** Everything anew; what could not be had is asked for again when the stream is back. */
const load = inTurn(async () => {
  try {
    await loadAll();
    behind = false;
  } catch {
    behind = true;
  }
  tell({ anew: true });
});

async function loadAll() {
  const gone = { apps: new Set(apps.keys()), deployments: new Set(deployments.keys()) };
  await all("/apps?sort_by=name&sort_order=asc", (page) => {
    for (const app of page) {
      apps.set(app.id, app);
      gone.apps.delete(app.id);
    }
  });
  tell({});
  await all("/deployments", (page) => {
    for (const found of page) {
      keep(found);
      gone.deployments.delete(found.id);
    }
    tell({});
  });
  gone.apps.forEach((id) => apps.delete(id));
  gone.deployments.forEach((id) => deployments.delete(id));
  const told = await get(`/events?limit=${ASKED}&type=deployment.`);
  phases.clear();
  [...told, ...recent].forEach(remember);
}

export async function fetchDeployment(id) {
  const found = await get(`/deployments/${id}`);
  keep(found);
  if (!apps.has(found.app_id)) apps.set(found.app_id, await get(`/apps/${found.app_id}`));
  tell({});
  return deployments.get(id);
}

export async function fetchUsage() {
  const { data } = await get("/usage");
  usage.clear();
  for (const one of data) usage.set(one.deployment_id, one);
  tell({});
}

/** Takes an event of a deployment into its hour; those it knows already are left. */
export function remember(event) {
  const { phase, before } = event.data;
  if (!phase || !event.deployment_id) return;
  const at = Date.parse(event.at);
  const known = phases.get(event.deployment_id) ?? [];
  if (known.some((change) => change.id === event.id)) return;
  const ordered = [...known, { id: event.id, at, phase, before }].sort((a, b) => a.id - b.id);
  const lately = ordered.filter((change) => change.at > Date.now() - HOUR_MS);
  phases.set(event.deployment_id, lately.filter((change, place) => change.phase !== lately[place - 1]?.phase));
}

function keep(found) {
  const known = deployments.get(found.id);
  if (!known || known.revision <= found.revision) deployments.set(found.id, found);
}

function take(event) {
  const id = event.deployment_id;
  if (!id) {
    if (event.type.startsWith("app.")) load();
    return;
  }
  const known = deployments.get(id);
  const data = event.data;
  if (known && data.phase && event.revision > known.revision) {
    const changed = { phase: data.phase, status: data.status, tasks_ready: data.ready, tasks_total: data.total, reason: data.reason };
    deployments.set(id, { ...known, ...changed });
  }
  stale.add(id);
  refresh();
}

const refresh = calmly(async () => {
  const ids = [...stale];
  stale.clear();
  if (ids.length > MANY) {
    await load();
    return;
  }
  const answers = await Promise.allSettled(ids.map(fetchDeployment));
  behind ||= answers.some((answer) => answer.status === "rejected" && !(answer.reason instanceof Problem));
}, 250);
