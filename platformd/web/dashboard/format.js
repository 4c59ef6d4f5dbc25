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

/** What a person would call a deployment. */
export const title = (app, deployment) => `${app ? app.name : deployment.app_id.slice(0, 8)} v${deployment.version}`;

/** A finished deployment by how it ended, any other by what it does. */
export const stateOf = (deployment) => (deployment.phase === "done" ? deployment.status : deployment.phase);

const BECAUSE = {
  starting: "it is starting",
  draining: "it lets requests in flight end",
  requests_in_flight: "requests are in flight",
  requests_held: "requests wait for it",
  recent_traffic: "somebody called it lately",
  keep_awake_lease: "it was asked to stay awake",
  cold_start_disabled: "its cold start is off",
  no_address: "it serves no requests",
};

export const because = (reasons) => reasons.map((reason) => BECAUSE[reason] ?? words(reason)).join(", ");
