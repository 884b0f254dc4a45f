/** Chunks, messages and conversations to test with. */

import { createFold, foldChunk } from "../src/fold.js";

/** Fold chunks into a message of this id. */
export function fold(...chunks) {
  const made = createFold("msg_a");
  for (const chunk of chunks) foldChunk(made, chunk);
  return made;
}

export const question = (id, text = "hi") => ({ id, role: "user", parts: [{ type: "text", text }] });
export const answer = (id, ...parts) => ({ id, role: "assistant", parts });
export const transient = (type, data) => ({ type, data, transient: true });

/** A whole run that answers a message with "yes". */
export const run = (id, message, runId) => [
  { type: "start", messageId: id },
  transient("data-run", { runId, attempt: 1 }),
  transient("data-user-message", { message }),
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: "yes" },
  { type: "text-end", id: "t" },
  { type: "finish", finishReason: "stop" },
];

/** Give chunks to a conversation, at `first` and the places behind it. */
export function feed(conversation, chunks, first = 1) {
  return chunks.map((chunk, index) => conversation.accept(`${first + index}-0`, chunk));
}

export const ids = ({ messages }) => messages.map(({ id }) => id);
/** The messages as they are shown. */
export const shown = (conversation) => conversation.messages.map((message) => conversation.shown(message));

export const call = (state, more = {}) => ({ type: "tool-delete", toolCallId: "c", state, input: { name: "a" }, ...more });
export const rewind = (message, runId = "run_1", attempt = 2) => transient("data-run-rewind", { runId, attempt, message });
export const runEnd = (status, reason, runId = "run_1") => transient("data-run-end", { runId, status, reason });
export const asking = (id, runId) => [
  { type: "start", messageId: id },
  transient("data-run", { runId, attempt: 1 }),
  { type: "tool-input-available", toolCallId: "c", toolName: "delete", input: { name: "a" } },
  { type: "tool-approval-request", toolCallId: "c", approvalId: "ap" },
  runEnd("requires_action", undefined, runId),
  { type: "finish", finishReason: "tool-calls" },
];
export const history = (messages, more) => ({ messages, cursor: "9-9", ...more });
