/** A conversation at one moment, for whoever draws it: nothing in it changes any more, and what is the same stays the same object. */

import { RunError } from "./errors.js";

/** @typedef {import("./types.js").Snapshot} Snapshot */
/** @typedef {import("./types.js").RunEnd} RunEnd */
/** @typedef {import("./types.js").UIMessage} UIMessage */

/**
 * @param {import("./conversation.js").Conversation} conversation
 * @param {Snapshot | undefined} previous the snapshot before this one
 * @param {{thread: string, loaded: boolean, deleted: boolean, connection: import("./types.js").Connection, error?: Error,
 *   forgiven?: string}} more what is known besides the conversation; `forgiven` is the answer whose failure was cleared
 * @returns {Snapshot}
 */
export function snapshotOf(conversation, previous, { forgiven, ...more }) {
  const { answering, retry, progress, runId, stopping, waiting, active, ends, speaking } = conversation;
  const messages = shownOf(conversation, previous?.messages);
  const last = messages.at(-1);
  const end = last && ends.get(last.id);
  const failure = !active && conversation.status === "failed" && last?.id !== forgiven ? failureOf(end, previous) : undefined;
  const error = more.error ?? failure;
  const sending = messages.filter(({ id }) => conversation.isUnconfirmed(id)).map(({ id }) => id);
  const queue = conversation.queue.map((one) => ({ ...one, isSending: conversation.isUnconfirmed(one.messageId) }));
  return {
    ...more,
    error,
    status: answering ? "streaming" : waiting ? "submitted" : error ? "error" : "ready",
    messages,
    answeringId: answering?.id,
    finishReason: end?.finishReason,
    ends,
    threadStatus: conversation.status,
    runId,
    isActive: active,
    isWaiting: waiting,
    isStopping: stopping,
    pending: shared(previous?.pending, conversation.pending),
    queue: shared(previous?.queue, queue),
    sending: sameSet(previous?.sending, sending),
    retry,
    progress,
    speaking,
  };
}

/**
 * Why a run failed, where nobody wished its end.
 * @param {RunEnd | undefined} end
 * @param {Snapshot | undefined} previous
 */
function failureOf(end, previous) {
  if (!end || end.aborted || end.reason === "cancelled" || end.reason === "superseded") return undefined;
  const error = new RunError(end.errorText, end.reason);
  const before = previous?.error;
  return before instanceof RunError && before.message === error.message && before.code === error.code ? before : error;
}

/**
 * Copies of messages that do not change any more, by what they were made of.
 * @type {WeakMap<UIMessage, UIMessage>}
 */
const copies = new WeakMap();

/**
 * @param {import("./conversation.js").Conversation} conversation
 * @param {readonly UIMessage[]} [before]
 */
function shownOf(conversation, before = []) {
  const known = new Map(before.map((message) => [message.id, message]));
  const now = conversation.messages.map((message) => {
    const shown = conversation.shown(message);
    const old = known.get(message.id);
    // What was decided lies over a message that grows all the same.
    if (message === conversation.growing) return frozen(shown, old);
    const copy = copies.get(shown) ?? (old ? shared(old, shown) : shown);
    copies.set(shown, copy);
    return copy;
  });
  return before.length === now.length && now.every((one, place) => one === before[place]) ? before : now;
}

/**
 * A copy that stays as it is while the message grows; parts that did not change are those of the copy before. Within a
 * part the fold replaces values and changes none.
 * @param {UIMessage} message
 * @param {UIMessage | undefined} before
 * @returns {UIMessage}
 */
function frozen(message, before) {
  const parts = message.parts.map((part, place) => {
    const old = before?.parts[place];
    return old && isSame(old, part) ? old : shared(old, { ...part });
  });
  return { ...message, parts };
}

/**
 * @param {any} one
 * @param {any} other
 */
function isSame(one, other) {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
}

/**
 * What is now, in which whatever equals what was before is that very object.
 * @template T
 * @param {T | undefined} before
 * @param {T} now
 * @returns {T}
 */
export function shared(before, now) {
  if (before === now || typeof now !== "object" || now === null || typeof before !== "object" || before === null) return now;
  if (Array.isArray(now) !== Array.isArray(before)) return now;
  const names = Object.keys(now);
  const old = new Map(Object.entries(before));
  const entries = names.map((name) => [name, shared(old.get(name), /** @type {any} */ (now)[name])]);
  if (old.size === names.length && entries.every(([name, value]) => old.has(name) && value === old.get(name))) return before;
  // `fromEntries` makes own properties, so a key `__proto__` of a tool's output stays a mere key.
  return /** @type {T} */ (Array.isArray(now) ? entries.map(([, value]) => value) : Object.fromEntries(entries));
}

/**
 * @param {ReadonlySet<string> | undefined} before
 * @param {string[]} now
 */
function sameSet(before, now) {
  return before?.size === now.length && now.every((one) => before.has(one)) ? before : new Set(now);
}
