/** How times, lengths of time and the states of a run are said in the inspector. No DOM. */

const STATUSES = new Map([
  ["queued", "Waits in line"],
  ["in_progress", "Running"],
  ["completed", "Completed"],
  ["requires_action", "Waits for a person"],
  ["failed", "Failed"],
  ["withdrawn", "Taken back"],
]);

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
  ["run_withdrawn", () => "Taken back"],
  ["run_started", ({ attempt }) => `Attempt ${attempt} started`],
  ["run_handed_back", ({ attempt }) => `Attempt ${attempt} handed back`],
  ["run_cancel_requested", ({ reason }) => (reason === "superseded" ? "To be replaced" : "Stop asked for")],
  ["step_completed", ({ step }) => `Step ${step} done`],
  ["run_completed", () => "Completed"],
  ["run_requires_action", () => "Waits for a person"],
  ["run_failed", ({ reason }) => `Failed: ${REASONS.get(reason) ?? reason}`],
  ["interactions_resolved", () => "Decided in part"],
  ["interactions_denied", () => "Dropped by a person"],
]);

export const isEnded = ({ status }) => ENDED.has(status);
export const statusOf = ({ status }) => STATUSES.get(status) ?? String(status);
export const reasonOf = ({ reason }) => (reason ? (REASONS.get(reason) ?? String(reason)) : "");

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
