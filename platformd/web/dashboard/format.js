// Numbers and times as people read them.

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

export function clock(instant) {
  const at = new Date(instant);
  const today = at.toDateString() === new Date().toDateString();
  return today ? CLOCK.format(at) : `${DAY.format(at)} ${CLOCK.format(at)}`;
}

export function duration(seconds) {
  const left = Math.max(0, Math.round(seconds));
  if (left < 60) return `${left} s`;
  if (left < 3600) return `${Math.floor(left / 60)} min${left < 600 && left % 60 ? ` ${left % 60} s` : ""}`;
  if (left < 86400) return `${Math.floor(left / 3600)} h ${Math.floor((left % 3600) / 60)} min`;
  return `${Math.floor(left / 86400)} d ${Math.floor((left % 86400) / 3600)} h`;
}

export const ago = (instant) => `${duration((Date.now() - new Date(instant)) / 1000)} ago`;

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export const percent = (value) => (value === null || value === undefined ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} %`);

export const words = (name) => name.replaceAll("_", " ");

export const appName = (app, deployment) => app?.name ?? deployment.app_id.slice(0, 8);

/** What a person would call a deployment. */
export const title = (app, deployment) => `${appName(app, deployment)} v${deployment.version}`;

/** A finished deployment by how it ended, any other by what it does. */
export const stateOf = (deployment) => (deployment.phase === "done" ? deployment.status : deployment.phase);

export const isOver = (deployment) => ["succeeded", "failed", "cancelled"].includes(deployment.status);

const BECAUSE = {
  starting: "starting",
  draining: "requests in flight end first",
  requests_in_flight: "requests in flight",
  requests_held: "requests wait for it",
  recent_traffic: "called lately",
  keep_awake_lease: "asked to stay awake",
  keep_awake_cpu_percent: "busy by its CPU",
  keep_awake_busy_path: "busy by its own word",
  cold_start_disabled: "cold start is off",
  no_address: "serves no requests, so none could wake it",
};

/** What keeps it awake, null where nothing does. */
export function because(deployment) {
  const reasons = deployment.awake_because.map((reason) => BECAUSE[reason] ?? words(reason));
  return reasons.length ? reasons.join(", ") : null;
}

/** When it sleeps unless somebody calls, null where that is not so. */
export function sleepsIn(deployment, now) {
  if (!deployment.idle_deadline || deployment.phase === "asleep") return null;
  return `sleeps in ${duration((Date.parse(deployment.idle_deadline) - now) / 1000)}`;
}

const PHASES = {
  asleep: "the next request wakes it",
  waiting_for_build: "waits for its build",
  pulling: "its image is being pulled",
  quarantined: "its actor failed too often and was shut off; resume it under Actors",
};

/** Why it is as it is, in one line. */
export function why(deployment, now = Date.now()) {
  if (deployment.reason) return deployment.reason.message;
  return [because(deployment), sleepsIn(deployment, now)].filter(Boolean).join("; ") || (PHASES[deployment.phase] ?? "");
}

/** Whether its reason is bad news. */
export const isTrouble = (deployment) => deployment.status === "failed" || ["backing_off", "quarantined"].includes(deployment.phase);
