/** How times, lengths of time and the states of a run are said in the inspector. No DOM. */

import { lookOf, wordsOf } from "../list/looks.js";

const STATUSES = new Map([
  ["queued", "Queued"],
  ["in_progress", "Running"],
  ["completed", "Completed"],
  ["requires_action", "Waits for a person"],
  ["failed", "Failed"],
  ["withdrawn", "Removed"],
]);
/** Ends that somebody wished for are told as the list of threads tells them: nothing has failed. */
const WISHED = new Set(["stopped", "replaced"]);

const REASONS = new Map([
  ["cancelled", "stopped by its reader"],
  ["superseded", "replaced by a newer message"],
  ["error", "the agent failed"],
  ["crashed", "its runners died"],
  ["timed_out", "it took too long"],
  ["undeliverable", "nobody took it up"],
]);

const ENDED = new Set(["completed", "requires_action", "failed", "withdrawn"]);

const EVENTS = new Map([
  ["run_requested", () => "Requested"],
  ["run_queued", ({ interrupts }) => (interrupts ? "Queued, to interrupt" : "Queued")],
  ["run_withdrawn", () => "Removed"],
  ["run_started", ({ attempt }) => `Attempt ${attempt} started`],
  ["run_handed_back", ({ attempt }) => `Attempt ${attempt} handed back`],
  ["run_cancel_requested", ({ reason }) => (reason === "superseded" ? "To be replaced" : "Stop asked for")],
  ["step_completed", ({ step }) => `Step ${step} done`],
  ["run_completed", () => "Completed"],
  ["run_requires_action", () => "Waits for a person"],
  ["run_failed", ({ reason }) => toldOf({ status: "failed", reason })],
  ["interactions_resolved", () => "Decided in part"],
  ["interactions_denied", () => "Dropped by a person"],
]);

export const isEnded = ({ status }) => ENDED.has(status);
const wished = ({ status, reason }) => {
  const thread = { status, failureReason: reason };
  return WISHED.has(lookOf(thread)) ? { look: lookOf(thread), words: wordsOf(thread) } : undefined;
};
/** What a run's colours go by. */
export const runLook = (run) => wished(run)?.look ?? run.status;
export const statusOf = (run) => wished(run)?.words ?? STATUSES.get(run.status) ?? String(run.status);
export const reasonOf = ({ reason }) => (reason ? (REASONS.get(reason) ?? String(reason)) : "");
/** The status, and why a run failed. */
export const toldOf = (run) => [statusOf(run), wished(run) ? "" : reasonOf(run)].filter(Boolean).join(": ");

/** What an event of the log says happened. */
export function eventLabel(event) {
  const label = EVENTS.get(event.type);
  return label ? label(event) : String(event.type).replaceAll("_", " ");
}

/** A length of time as people read it: `412 ms`, `2.35 s`, `3 min 12 s`, `2 h 5 min`. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return "";
  if (ms < 999.5) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 59.995) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return joined([Math.floor(whole / 60), "min"], [whole % 60, "s"]);
  return joined([Math.floor(whole / 3600), "h"], [Math.floor((whole % 3600) / 60), "min"]);
}

const joined = ([many, unit], [few, smaller]) => `${many} ${unit}${few ? ` ${few} ${smaller}` : ""}`;

/** The time of day, to the millisecond. */
export function clock(ms) {
  if (!Number.isFinite(ms)) return "";
  const time = new Date(ms);
  const [hours, minutes, seconds] = [time.getHours(), time.getMinutes(), time.getSeconds()].map(pad);
  return `${hours}:${minutes}:${seconds}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

const pad = (number) => String(number).padStart(2, "0");

export const day = (ms) => (Number.isFinite(ms) ? new Date(ms).toLocaleDateString() : "");
export const number = (value) => Number(value).toLocaleString("en");

/** `1 step`, `3 steps`. */
export const counted = (many, noun) => `${number(many)} ${noun}${many === 1 ? "" : "s"}`;

export function bytes(many) {
  if (many < 1024) return `${number(many)} B`;
  return many < 1 << 20 ? `${(many / 1024).toFixed(1)} KiB` : `${(many / (1 << 20)).toFixed(1)} MiB`;
}
