/** What an answer waits for its reader to decide, and in which order. No DOM. */

import { toolName } from "../client/fold.js";
import { keysOf } from "../client/interactions.js";

/** What is to be decided first, of what waits, with what has been decided beside it: `[{key, part, name, isBusy}]`. */
export function waitingIn({ messages, pending }) {
  const waiting = pending.flatMap(({ messageId, kind, id, isBusy }) => {
    const key = `${kind}:${id}`;
    const message = messages.find((one) => one.id === messageId);
    const part = message?.parts.find((one) => keysOf(one).includes(key));
    if (!part) return [];
    const name = toolName(part);
    return [{ key, message, part, name, isBusy, rank: rankOf(part, name) }];
  });
  const open = waiting.filter(({ isBusy }) => !isBusy);
  const first = Math.min(...(open.length > 0 ? open : waiting).map(({ rank }) => rank));
  return waiting.filter(({ rank }) => rank === first);
}

/** What comes first where several kinds of decisions wait. */
function rankOf(part, name) {
  if (part.approval) return 2;
  return name === "propose_plan" ? 1 : 0;
}

/** The options of a question, none where any text will do: `[{text, value}]`. */
export function choicesOf({ type, options } = {}) {
  if (type === "confirm")
    return [
      { text: "Yes", value: "yes" },
      { text: "No", value: "no" },
    ];
  return (Array.isArray(options) ? options : []).map((option) => ({ text: String(option), value: String(option) }));
}
