/** How a thread stands, in the list's words. No DOM. */

const LOOKS = new Map([
  ["in_progress", "Running"],
  ["requires_action", "Needs review"],
  ["failed", "Failed"],
  ["completed", "Done"],
  ["stopped", "Stopped"],
  ["replaced", "Replaced"],
]);
/** Runs that ended because somebody wished it: nothing is wrong with them. */
const WISHED = new Map([
  ["cancelled", "stopped"],
  ["superseded", "replaced"],
]);
const FAILURES = new Map([
  ["timed_out", "Timed out"],
  ["crashed", "Crashed"],
  ["undeliverable", "Not taken up"],
]);

/** How a thread's last run stands, as the list shows it. */
export function lookOf({ status, failureReason }) {
  const look = (status === "failed" && WISHED.get(failureReason)) || status;
  return LOOKS.has(look) ? look : "unknown";
}

/** The same in words; of a failure, why. */
export function wordsOf(thread) {
  const look = lookOf(thread);
  return (look === "failed" && FAILURES.get(thread.failureReason)) || (LOOKS.get(look) ?? "");
}

/** The views of the list, by their names: what of the threads each asks the server for. */
export const VIEWS = new Map([
  ["all", {}],
  ["review", { status: "requires_action" }],
  ["running", { status: "in_progress" }],
  ["failed", { status: "failed" }],
  ["archived", { archived: "true" }],
]);

/** Whether a thread belongs into a view. */
export function isIn(view, thread) {
  const { status, archived } = VIEWS.get(view);
  if ((archived === "true") !== (thread.archived === true)) return false;
  return status === undefined || lookOf(thread) === status;
}

export function ago(time, now = Date.now()) {
  const minutes = Math.floor((now - Date.parse(time)) / 60_000);
  if (!Number.isFinite(minutes)) return "";
  if (minutes < 1) return "now";
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h`;
  return new Date(time).toLocaleDateString();
}
