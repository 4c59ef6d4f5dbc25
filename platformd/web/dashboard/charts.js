// An hour as a picture: phases as a strip, measurements as an area. Drawn anew from data, never moved.

import { s } from "./dom.js";
import { ago, clock, words } from "./format.js";

export const HOUR_MS = 3600000;
const WIDTH = 600;

/** A window of time that shows what there is since `since`: of a new deployment minutes, and an hour at most. */
export function spanOf(since, now) {
  return [5, 15, 30].map((minutes) => minutes * 60000).find((span) => now - since <= span) ?? HOUR_MS;
}

/** `changes` are {at (ms), phase, before}, oldest first; `since` (ms) is when there was something to show. */
export function strip(changes, now, phase, since = 0, span = HOUR_MS) {
  const left = now - span;
  const inside = changes.filter((change) => change.at > left);
  const first = inside[0]?.before ?? changes.at(-1)?.phase ?? phase;
  const parts = [{ at: Math.max(left, since), phase: inside.length ? first : phase }, ...inside].filter((part) => part.phase);
  const drawn = parts.map((part, place) => {
    const until = parts[place + 1]?.at ?? now;
    const x = ((part.at - left) / span) * WIDTH;
    const width = Math.max(until > part.at ? 1.5 : 0, ((until - part.at) / span) * WIDTH);
    return s("rect", { class: part.phase, x: x.toFixed(1), y: 0, height: 16, width: width.toFixed(1) }, s("title", {}, `${words(part.phase)} from ${clock(part.at)}`));
  });
  const wakes = inside.filter((change) => change.phase === "waking").length;
  const told = `${lately(span)}: now ${words(phase)}${inside.length ? `, since ${ago(inside.at(-1).at)}` : ""}, woken ${wakes} times`;
  return s("svg", { class: "strip", viewBox: `0 0 ${WIDTH} 16`, preserveAspectRatio: "none", role: "img", "aria-label": told }, drawn);
}

/** The last `span` of `field` in `samples`; a pause between two samples (asleep) is a pause in the line. */
export function area(samples, field, interval, now, { label, span = HOUR_MS, kind = "area", height = 56 }) {
  const left = now - span;
  const seen = samples.map((sample) => ({ at: Date.parse(sample.at), value: sample[field] })).filter((sample) => sample.at >= left);
  const most = Math.max(...seen.map((sample) => sample.value), 1e-9);
  const point = ({ at, value }) => `${(((at - left) / span) * WIDTH).toFixed(1)} ${(height - 2 - (value / most) * (height - 6)).toFixed(1)}`;
  const runs = [];
  for (const sample of seen) {
    const run = runs.at(-1);
    if (run && sample.at - run.at(-1).at < interval * 2500) run.push(sample);
    else runs.push([sample]);
  }
  const x = (sample) => point(sample).split(" ")[0];
  const line = (run) => `M${run.map(point).join("L")}${run.length === 1 ? "h1" : ""}`;
  const under = (run) => `${line(run)}V${height}H${x(run[0])}Z`;
  return s("svg", { class: kind, viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    kind === "area" && runs.map((run) => s("path", { class: "under", d: under(run) })),
    runs.map((run) => s("path", { d: line(run) })));
}

export const lately = (span) => (span === HOUR_MS ? "Last hour" : `Last ${span / 60000} minutes`);

export const most = (samples, field) => samples.reduce((highest, sample) => Math.max(highest, sample[field]), 0);
