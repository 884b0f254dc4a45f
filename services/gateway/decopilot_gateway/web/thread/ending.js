/** How an answer ended, where that is more than its last word: a line, or a card with what can be done about it. */

import { button, h } from "../dom.js";

const INCOMPLETE = new Map([
  ["length", "The answer reached its length limit."],
  ["content-filter", "The answer was stopped by a content filter."],
  ["tool-calls", "The answer ended on a tool call."],
]);

const STOPPED = new Map([
  ["cancelled", "Stopped."],
  ["superseded", "Replaced by a newer message."],
]);

/** What the server says of these is what their title says. */
const FAILED = new Map([
  ["timed_out", ["The answer took too long", "It was ended at its time limit. What was written is kept."]],
  ["crashed", ["The answer was interrupted too often", "Its server failed each time. What was written is kept."]],
  ["undeliverable", ["Nobody took the message up in time", "The servers are busy or down."]],
]);

/** What is to be said of an end: `{kind: "none" | "aside" | "error" | "warning", title?, text, action?}`. No DOM. */
export function endingOf(end, { isEmpty = false } = {}) {
  const nothing = isEmpty ? { kind: "aside", text: "No response was generated." } : { kind: "none" };
  if (!end) return nothing;
  const { finishReason, errorText, aborted, status, reason } = end;
  if (aborted || STOPPED.has(reason)) {
    return { kind: "aside", isStop: true, text: STOPPED.get(reason) ?? STOPPED.get("cancelled") };
  }
  // A run cut short by a limit also counts as failed and carries an `error`; the limit says more.
  const limit = INCOMPLETE.get(finishReason);
  if (!limit && (finishReason === "error" || errorText !== undefined)) {
    const [title, text] = FAILED.get(reason) ?? ["Something went wrong", errorText || "The run failed."];
    return { kind: "error", title, text, action: "again" };
  }
  if (status === "requires_action") return { kind: "none" };
  if (finishReason !== "stop") {
    const text = limit ?? `The response stopped unexpectedly: ${finishReason}.`;
    return { kind: "warning", title: "Response incomplete", text, action: "continue" };
  }
  return nothing;
}

/** `actions`: `again()` and `goOn()`; only the last answer has them. Without them the card tells and offers nothing. */
export function endingView(ending, actions) {
  const { kind, title, text, action, isStop } = ending;
  if (kind === "none") return [];
  if (kind === "aside") return [h("p", { className: "aside", ...(isStop ? { "data-testid": "stopped" } : {}) }, text)];
  const element = h(
    "div",
    { className: `card ${kind}`, "data-testid": `${kind}-card` },
    h("strong", {}, title),
    h("p", {}, text),
  );
  if (!actions) return [element];
  const act =
    action === "again"
      ? button("Try again", "quiet", "again", actions.again)
      : button("Continue", "quiet", "continue", actions.goOn);
  const dismiss = button("Dismiss", "plain", "dismiss-card", () => element.remove());
  element.append(h("div", { className: "card-foot" }, act, dismiss));
  return [element];
}
