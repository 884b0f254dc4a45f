/** A thread as this tab knows it: history, the run that is being folded, and what the user just sent. No I/O. */

import { createFold, foldChunk } from "./fold.js";

const ENDED = new Set(["completed", "failed", "requires_action"]);
const UNNAMED_RUN = Symbol("a run whose id is not known");

export class Conversation {
  messages = [];
  /** Where to go on reading; undefined until the server named a place. */
  cursor;
  /** How runs ended, by the id of their answer: `{finishReason, errorText, aborted}`. */
  ends = new Map();
  status;
  #fold;
  #base;
  #runsSeen = new Set();
  #awaitedRun;
  #unconfirmed;
  #horizon;

  /** The answer that is being streamed. */
  get answering() {
    return this.#fold?.message;
  }

  /** Sent, or known to run, and no chunk of it has come yet. */
  get waiting() {
    return !this.#fold && (this.#unconfirmed !== undefined || this.#awaitedRun !== undefined);
  }

  get active() {
    return this.#fold !== undefined || this.waiting;
  }

  has(id) {
    return this.messages.some((message) => message.id === id);
  }

  isUnconfirmed(id) {
    return this.#unconfirmed?.id === id;
  }

  /** Take the server's history as the truth; the stream goes on behind its cursor. */
  load({ messages, cursor, status }) {
    this.messages = messages.filter(isMessage);
    for (const { id, metadata } of this.messages) {
      // Why a run failed stands in its message: whoever opens the thread later did not see it end.
      if (metadata?.finishReason && !this.ends.has(id)) this.ends.set(id, endOf(metadata));
    }
    if (this.#unconfirmed && this.has(this.#unconfirmed.id)) this.#unconfirmed = undefined;
    if (this.#unconfirmed) this.messages.push(this.#unconfirmed);
    this.#fold = undefined;
    this.#awaitedRun = status === "in_progress" ? UNNAMED_RUN : undefined;
    this.status = status;
    this.cursor = this.#horizon = cursor ?? undefined;
  }

  /** Show a message that the server has not accepted yet. */
  offer(message) {
    this.#unconfirmed = message;
    this.messages.push(message);
  }

  /** The server accepted it. Chunks of the run may have overtaken this answer. */
  confirm(message, { runId, status, cursor }) {
    if (this.isUnconfirmed(message.id)) this.#unconfirmed = undefined;
    // Without any place to go on from, a reconnect would start at the active run and miss one that is over by then.
    this.cursor ??= cursor ?? undefined;
    if (!ENDED.has(status) && !this.#runsSeen.has(runId)) this.#awaitedRun = runId;
  }

  /** The server refused it: true if it was taken back, false if the stream has shown it to be accepted. */
  withdraw(message) {
    if (!this.isUnconfirmed(message.id)) return false;
    this.#unconfirmed = undefined;
    this.messages = this.messages.filter(({ id }) => id !== message.id);
    return true;
  }

  /**
   * Take in one chunk of the thread's stream.
   * Returns "reset" or "lost" when the history must be read again, "end" at the end of a run.
   */
  accept(cursor, chunk) {
    if (chunk?.type === "data-thread-reset") return "reset";
    if (cursor) {
      if (!isAfter(cursor, this.#horizon)) return undefined;
      this.cursor = cursor;
    }
    switch (chunk?.type) {
      case "data-user-message":
        this.#adopt(chunk.data?.message);
        return undefined;
      case "data-run":
        this.#runsSeen.add(chunk.data?.runId);
        if (this.#awaitedRun === chunk.data?.runId) this.#awaitedRun = undefined;
        return undefined;
      case "start":
        this.#begin(chunk);
        return undefined;
      case "finish":
        if (!this.#fold) return "lost";
        foldChunk(this.#fold, chunk);
        this.#end();
        return "end";
      default:
        if (this.#fold && chunk) foldChunk(this.#fold, chunk);
        return undefined;
    }
  }

  #begin(chunk) {
    const id = String(chunk.messageId ?? `answer-${this.cursor}`);
    // A second `start` of the same answer is a replay: what was folded so far comes again.
    if (this.#fold?.message.id !== id) this.#base = this.messages.find((message) => message.id === id);
    if (this.#awaitedRun === UNNAMED_RUN) this.#awaitedRun = undefined;
    this.#fold = createFold(id, this.#base);
    this.ends.delete(id);
    foldChunk(this.#fold, chunk);
    this.#put(this.#fold.message);
  }

  #end() {
    const { message, finishReason, errorText, aborted } = this.#fold;
    this.ends.set(message.id, { finishReason, errorText, aborted });
    this.#fold = undefined;
    this.status = undefined;
  }

  /** The question as the server has it, ahead of its answer. */
  #adopt(message) {
    if (!isMessage(message)) return;
    if (this.isUnconfirmed(message.id)) this.#unconfirmed = undefined;
    if (this.has(message.id)) this.#put(message);
    else {
      const place = this.#fold ? this.messages.indexOf(this.#fold.message) : this.messages.length;
      this.messages.splice(place, 0, message);
    }
  }

  #put(message) {
    const index = this.messages.findIndex(({ id }) => id === message.id);
    if (index < 0) this.messages.push(message);
    else this.messages[index] = message;
  }
}

const endOf = ({ finishReason, errorText }) => ({ finishReason: String(finishReason), errorText });

const isMessage = (message) => typeof message?.id === "string" && Array.isArray(message.parts);

/** Order of `<sequence>-<index>`; an id of another form is taken as new rather than dropped. */
export function isAfter(id, other) {
  const [a, b] = [id, other].map((text) => /^(\d+)-(\d+)$/.exec(text ?? "")?.slice(1).map(Number));
  return !a || !b || a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]);
}
