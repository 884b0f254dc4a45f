/** A conversation at one moment, for whoever draws it: nothing in it changes any more, and what is the same stays the same object. */

/** `previous` is the snapshot before this one; `more` what is known besides the conversation. */
export function snapshotOf(conversation, previous, more) {
  const { answering, queue, retry, progress, runId, stopping, waiting, active, ends, speaking } = conversation;
  const known = new Map(previous?.messages.map((message) => [message.id, message]));
  const held = conversation.messages.map((message) =>
    message === answering ? frozen(message, known.get(message.id)) : message,
  );
  const messages = same(previous?.messages, held.map((message) => conversation.shown(message)));
  const last = messages.at(-1);
  const end = last && ends.get(last.id);
  const error = more.error ?? (!active && conversation.status === "failed" ? failureOf(end) : undefined);
  const status = answering ? "streaming" : waiting ? "submitted" : error ? "error" : "ready";
  const sending = messages.filter(({ id }) => conversation.isUnconfirmed(id)).map(({ id }) => id);
  return {
    ...more,
    error,
    status,
    /** UIMessages of the AI SDK, oldest first. */
    messages,
    /** The id of the message that is being streamed. */
    answeringId: answering?.id,
    /** Why the last answer ended, if it did: the AI SDK's reasons. */
    finishReason: end?.finishReason,
    /** How answers ended, by the id of their message: `{finishReason, errorText, aborted, status, reason}`. */
    ends: new Map(ends),
    /** How the thread's last run stands, as the server has it. */
    threadStatus: conversation.status,
    runId,
    isActive: active,
    isWaiting: waiting,
    isStopping: stopping,
    /** What waits for a decision: `{messageId, kind: "approval" | "answer", id, isBusy}`. */
    pending: conversation.pending,
    /** Messages in line: `{messageId, runId, message, interrupts, isSending}`, the next one first. */
    queue: queue.map((one) => ({ ...one, isSending: conversation.isUnconfirmed(one.messageId) })),
    /** The ids of messages that the server has not accepted yet. */
    sending: new Set(sending),
    /** What the model call that is tried again waits for: `{attempt, delayMs, category}`. */
    retry,
    /** How far tools are, by the id of their call: `{progress, total, message}`. */
    progress,
    /** Grows with each chunk while the answer's next words are waited for; else undefined. */
    speaking,
  };
}

/** Why a run failed, where nobody wished its end. */
function failureOf(end) {
  if (!end || end.aborted || end.reason === "cancelled" || end.reason === "superseded") return undefined;
  return Object.assign(new Error(end.errorText || "The run failed."), { name: "RunError", code: end.reason });
}

/** A copy that stays as it is while the message grows; parts that did not change are those of the copy before. */
function frozen(message, before) {
  const parts = message.parts.map((part, index) => {
    const old = before?.parts[index];
    return old && isSame(old, part) ? old : { ...part };
  });
  return { ...message, parts };
}

function isSame(one, other) {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
}

/** The array before, if the new one holds the same. */
function same(before, now) {
  return before?.length === now.length && now.every((one, index) => one === before[index]) ? before : now;
}
