/**
 * A thread as this tab knows it: history, the run that is being folded, what waits in line or for a person, and what
 * was just sent or decided here. No I/O.
 */

import { Answer, isSpeaking } from "./answer.js";
import { AwaitedRuns, hasEnded } from "./awaited.js";
import { isAfter } from "./cursor.js";
import { Decisions } from "./decisions.js";
import { isMessage } from "./fold.js";
import { keyOf, keyOfResolution, unanswered } from "./interactions.js";
import { Line } from "./line.js";
import { Transcript } from "./transcript.js";
import { Veils } from "./veils.js";

/** @typedef {import("./types.js").UIMessage} UIMessage */
/** @typedef {import("./types.js").QueuedMessage} QueuedMessage */
/** @typedef {import("./types.js").History} History */
/** @typedef {import("./types.js").Resolution} Resolution */
/** @typedef {import("./types.js").Receipt} Receipt */
/** @typedef {import("./types.js").Chunk} Chunk */
/** @typedef {import("./types.js").RunEnd} RunEnd */

/** Before everything (docs/protocol.md 21). */
const START = "0-0";

export class Conversation {
  /** @type {import("./types.js").Retry | undefined} What the answer waits for, until it says anything else. */
  retry;
  /** Where to go on reading. Without any place a reconnect would begin at the active run, and miss those over by then. */
  cursor = START;
  /** @type {ReadonlyMap<string, RunEnd>} How runs ended, by the id of their answer. */
  ends = new Map();
  /** @type {string | undefined} */
  status;
  #transcript = new Transcript();
  #line = new Line();
  #decisions = new Decisions();
  #veils = new Veils();
  #runs = new AwaitedRuns();
  /** @type {Answer | undefined} */
  #answer;
  /** @type {{id: string, runId?: string} | undefined} The answer that was cut off and is told again. */
  #again;
  /** @type {Set<string>} */
  #stopping = new Set();
  #heard = 0;
  /** Behind the last run that is known to have ended. */
  #ended = START;

  get messages() {
    return this.#transcript.messages;
  }

  /** Messages that wait their turn: `{messageId, runId, message, interrupts}`, the next one first. */
  get queue() {
    return this.#line.queue;
  }

  /** What the last answer waits for: `{messageId, keys}`. */
  get asks() {
    return this.#decisions.asks;
  }

  /** What of that is still to be decided: `{messageId, kind, id, isBusy}`. */
  get pending() {
    return this.#decisions.pending;
  }

  /** How far tools are, by the id of their call. */
  get progress() {
    return this.#answer?.progress ?? NO_PROGRESS;
  }

  /** The message that is being folded; it changes, all others are replaced. */
  get growing() {
    return this.#answer?.message;
  }

  /** The answer that is being streamed. */
  get answering() {
    return this.#transcript.find(this.growing?.id ?? this.#again?.id);
  }

  /** Sent, or known to run, and no chunk of it has come yet. */
  get waiting() {
    if (this.#answer || this.#again) return false;
    if (this.#runs.any || this.messages.some(({ id }) => this.isUnconfirmed(id))) return true;
    return this.queue.length > 0 && this.status !== "requires_action";
  }

  /** How far the answer has come, while its next words are waited for. */
  get speaking() {
    return isSpeaking(this.answering) && !this.stopping ? this.#heard : undefined;
  }

  get active() {
    return this.#answer !== undefined || this.#again !== undefined || this.waiting;
  }

  /** @returns {string | undefined} The run that goes on, as far as its id is known. */
  get runId() {
    if (this.#answer) return this.#answer.runId;
    return this.#again ? this.#again.runId : /** @type {string | undefined} */ (this.#runs.latest);
  }

  /** The end of the run was asked for, and has not come yet. */
  get stopping() {
    return this.active && this.#stopping.has(this.runId ?? "");
  }

  /**
   * Whether a message is in the chat or in line.
   * @param {string} id
   */
  has(id) {
    return this.#transcript.has(id) || this.#line.has(id);
  }

  /** Whether the server knows the thread, as far as is known here. */
  get isBegun() {
    return this.messages.some(({ id }) => !this.isUnconfirmed(id));
  }

  /**
   * It was sent, and the server has not accepted it yet.
   * @param {string} id
   */
  isUnconfirmed(id) {
    return this.#line.isUnconfirmed(id);
  }

  /**
   * A message as it is shown: as far as it had come, with what was decided here and is not in the log yet.
   * @param {UIMessage} message
   */
  shown(message) {
    return this.#decisions.shown(this.#veils.shown(message));
  }

  /** The history or the queue begins to be read; what this returns goes into `load` or `line`. */
  reading() {
    return this.#line.reading();
  }

  /**
   * Take the server's history as the truth; the stream goes on behind its cursor. What was accepted while it was being
   * read (`reading`) may be missing in it and stays, and so does what the stream has shown from behind its cursor: that
   * is told again, and shown as it was until it has come as far.
   * @param {History} history
   */
  load({ messages, cursor, status, pending, queue = [], activeRun }, reading = this.reading()) {
    const [held, answering, runId] = [this.messages.map((one) => this.#veils.shown(one)), this.answering, this.runId];
    this.#transcript.load(messages.filter(isMessage));
    this.cursor = this.#ended = cursor ?? START;
    this.#answer = this.#again = this.retry = undefined;
    for (const message of this.#veils.draw(held, this.messages, this.cursor)) this.#transcript.put(message);
    if (answering && this.#veils.has(answering.id)) this.#again = { id: answering.id, runId };
    for (const { id } of messages) this.#line.forget(id);
    // Why a run failed stands in its message: whoever opens the thread later did not see it end.
    const failed = this.messages.filter(({ metadata }) => metadata?.finishReason);
    this.ends = new Map([...failed.map(({ id, metadata }) => /** @type {const} */ ([id, endOf(metadata)])), ...this.ends]);
    this.#runs.settle(reading, this.cursor);
    this.status = this.#runs.any ? "in_progress" : status;
    if (status === "in_progress" && !this.#runs.any) this.#runs.expect(activeRun?.runId, reading);
    if (activeRun?.cancelRequested) this.#stopping.add(activeRun.runId);
    this.#decisions.ask(this.status, this.messages.findLast(({ role }) => role === "assistant"), pending);
    this.#decisions.prune(this.messages);
    this.#lineUp(queue, reading, true);
  }

  /** There is no such thread, or not any more. */
  clear() {
    this.#veils.clear();
    this.#runs.clear();
    this.load({ messages: [] });
  }

  /**
   * Take the server's queue as the truth, but for what the stream has shown to have begun since. `begun` are messages that
   * a history of a moment later has: they have left the line for the chat, and the stream is about to say so.
   * @param {QueuedMessage[]} queue
   * @param {number} reading
   * @param {UIMessage[]} begun
   */
  line(queue, reading = this.reading(), begun = []) {
    for (const { messageId, runId, message, interrupts } of this.missingIn(queue)) {
      if (this.#transcript.has(messageId) || !begun.some(({ id }) => id === messageId)) continue;
      // Held against readings that are under way: a history may be older, a queue that still has it newer.
      this.#line.offer({ messageId, runId, message, interrupts, isQueued: false, accepted: this.#line.readings });
      this.#transcript.showAhead(message);
      this.started({ runId, status: "in_progress", cursor: this.cursor });
    }
    this.#lineUp(queue, reading, false);
  }

  /**
   * Messages that leave the line by this queue, though nothing has told yet what became of them.
   * @param {QueuedMessage[]} queue
   */
  missingIn(queue) {
    return this.#line.missingIn(queue);
  }

  /**
   * Show a message that the server has not accepted yet: in line if there is a run before it.
   * @param {UIMessage} message
   */
  offer(message, { interrupts = false } = {}) {
    // Said again although the stream has shown it: it is there.
    if (this.has(message.id)) return;
    const isQueued = this.active;
    this.#line.offer({ messageId: message.id, message, interrupts, isQueued });
    if (!isQueued) this.#transcript.showAhead(message);
  }

  /**
   * The server accepted it. Chunks of the run may have overtaken this answer.
   * @param {UIMessage} message
   * @param {Receipt} receipt
   */
  confirm(message, receipt, { interrupts = false } = {}) {
    const { runId, status } = receipt;
    const { id: messageId } = message;
    const wasOffered = this.#line.isOffered(messageId);
    const isShown = this.#transcript.has(messageId);
    const isKnown = this.#runs.isPassed(receipt, this.cursor) || (!wasOffered && isShown);
    if (isKnown || hasEnded(status)) this.#line.forget(messageId);
    if (isKnown) {
      // Its run has begun to tell, but not yet of the question.
      if (wasOffered && !isShown) this.#adopt(message);
      return;
    }
    if (wasOffered) this.#transcript.drop(messageId);
    const isQueued = status === "queued";
    if (!isQueued && status !== "withdrawn") this.#transcript.showAhead(message);
    if (hasEnded(status)) return;
    if (isQueued && interrupts && this.runId !== undefined) this.#stopping.add(this.runId);
    const accepted = this.#line.readings;
    this.#line.offer({ messageId, runId, message, interrupts, isQueued, accepted });
    if (!isQueued) this.#runs.add(receipt, this.cursor, accepted);
  }

  /**
   * The server refused it: true if it was taken back, false if the stream has shown it to be accepted.
   * @param {UIMessage} message
   */
  withdraw({ id }) {
    if (!this.isUnconfirmed(id)) return false;
    this.#line.forget(id);
    this.#transcript.drop(id);
    return true;
  }

  /**
   * It was taken back from the line, here or elsewhere.
   * @param {string} messageId
   */
  dequeue(messageId) {
    this.#line.takeBack(messageId);
  }

  /**
   * The run's end is being asked for, or can't be.
   * @param {string} runId
   */
  stop(runId, asked = true) {
    if (asked) this.#stopping.add(runId);
    else this.#stopping.delete(runId);
  }

  /**
   * A run was accepted that no message of this tab is for. Its chunks may have overtaken this answer.
   * @param {import("./awaited.js").Receipt} receipt
   */
  started(receipt) {
    if (this.#runs.add(receipt, this.cursor, this.#line.readings)) this.status = "in_progress";
  }

  /**
   * Something that an answer waits for, or will wait for, is decided here: shown from now on, and sent when it is among
   * the `decisions`. Returns false where there is no such call, or none that waits.
   * @param {Resolution} resolution
   */
  decide(resolution) {
    const key = keyOfResolution(resolution);
    const asks = (/** @type {UIMessage} */ { parts }) => parts.some((part) => keyOf(part) === key);
    const message = this.messages.map((one) => this.#veils.shown(one)).findLast(asks);
    return message !== undefined && this.#decisions.hold(message, resolution);
  }

  /** The decisions that the server may be told of now: none before the answer has come to its end. */
  get decisions() {
    return this.#answer ? [] : this.#decisions.ready;
  }

  /**
   * They are on their way to the server.
   * @param {Resolution[]} resolutions
   */
  deciding(resolutions) {
    this.#decisions.send(resolutions);
  }

  /**
   * The server refused them, or can't be reached: what was shown of them is taken back.
   * @param {Resolution[]} resolutions
   */
  undecide(resolutions) {
    this.#decisions.drop(resolutions);
  }

  /**
   * The server took the decisions; with the last one the run goes on, and may have overtaken this answer.
   * @param {Resolution[]} resolutions
   * @param {Receipt} receipt
   */
  decided(resolutions, receipt) {
    const goesOn = !hasEnded(receipt.status);
    // Of a run that was seen to its end what it said is in the message by now.
    if (goesOn && this.#runs.isSeen(receipt.runId) && this.runId !== receipt.runId) this.#decisions.drop(resolutions);
    else this.#decisions.accept(resolutions, goesOn ? receipt.runId : undefined);
    this.#decisions.prune(this.messages);
    this.started(receipt);
  }

  /**
   * Take from a newer history what came of all that the last answer waits for; a run that goes on tells it itself.
   * @param {History} history
   */
  catchUp({ messages, cursor, status, pending }) {
    const { asks } = this;
    if (this.active || !asks || isAfter(this.cursor, cursor ?? this.cursor)) return;
    const message = messages.filter(isMessage).find(({ id }) => id === asks.messageId);
    if (!message) return;
    this.#transcript.put(message);
    this.status = status;
    if (status === "in_progress") this.#decisions.asks = { ...asks, keys: new Set() };
    else this.#decisions.ask(status, message, pending);
    this.#decisions.prune(this.messages);
  }

  /**
   * Take in one chunk of the thread's stream.
   * Returns "reset", "anew" or "lost" when the history must be read again, "anew" if it does not go on with what was told
   * here; "end" at the end of a run, "deleted" at that of the thread.
   * @param {string | undefined} cursor
   * @param {Chunk} chunk
   * @returns {"reset" | "anew" | "lost" | "deleted" | "end" | undefined}
   */
  accept(cursor, chunk) {
    if (chunk.type === "data-thread-reset") {
      const { cursor: place, reason } = chunk.data ?? {};
      // A log that ends before a run that was seen to end never had it: it was put back to an earlier state.
      const isAnew = reason === "cursor" && place !== undefined && isAfter(this.#ended, place);
      if (isAnew) this.#veils.clear();
      return isAnew ? "anew" : "reset";
    }
    if (chunk.type === "data-thread-deleted") return "deleted";
    if (cursor && !isAfter(cursor, this.cursor)) return undefined;
    this.cursor = cursor ?? this.cursor;
    this.#heard += 1;
    this.retry = this.#answer && chunk.type === "data-retry" ? chunk.data : undefined;
    const effect = this.#apply(chunk);
    if (cursor && this.#veils.lift(cursor) && this.#again && !this.#veils.has(this.#again.id)) this.#again = undefined;
    if (cursor && this.growing) this.#veils.note(this.growing.id, cursor);
    return effect;
  }

  /**
   * @param {Chunk} chunk
   * @returns {"lost" | "end" | undefined}
   */
  #apply(chunk) {
    const { type, data } = chunk;
    if (type === "data-user-message") this.#adopt(data?.message);
    else if (type === "data-run") this.#see(data?.runId);
    else if (type === "data-messages-dropped") this.#transcript.dropBehind(data?.after, this.growing?.id);
    else if (type === "data-run-rewind") this.#rewind(chunk);
    else if (type === "start") this.#begin(chunk);
    else this.#take(chunk);
    if (type !== "finish") return undefined;
    return this.#end() ? "end" : "lost";
  }

  /** @param {Chunk} chunk */
  #begin(chunk) {
    const id = String(chunk.messageId ?? `answer-${this.cursor}`);
    const known = this.#transcript.find(id);
    // A second `start` of the same answer is a replay: what was folded so far comes again.
    const base = this.growing?.id === id ? this.#answer?.base : known && this.#veils.baseOf(known);
    this.#runs.begin();
    const { asks } = this;
    if (asks && asks.messageId !== id) this.#transcript.changeParts(asks.messageId, unanswered);
    this.#decisions.asks = undefined;
    this.#answer = new Answer(id, base, this.#again?.id === id ? this.#again.runId : undefined);
    this.#again = undefined;
    this.ends = new Map([...this.ends].filter(([ended]) => ended !== id));
    this.status = "in_progress";
    this.#take(chunk);
    this.#transcript.put(this.#answer.message);
  }

  /** @param {string | undefined} runId */
  #see(runId) {
    if (!this.#answer || runId === undefined) return;
    this.#answer.runId = runId;
    this.#runs.see(runId);
  }

  /**
   * What a rewind says is the whole message, so it also tells one whose beginning was missed.
   * @param {Chunk} chunk
   */
  #rewind(chunk) {
    const message = chunk.data?.message;
    if (!isMessage(message)) return;
    if (this.growing?.id !== message.id) this.#begin({ type: "start", messageId: message.id });
    this.#see(chunk.data.runId);
    this.#take(chunk);
  }

  /** @param {Chunk} chunk */
  #take(chunk) {
    if (!this.#answer) return;
    const { message } = this.#answer;
    this.#answer.take(chunk);
    if (this.#answer.message !== message) this.#transcript.put(this.#answer.message);
  }

  /** Returns whether there was an answer to end. */
  #end() {
    if (!this.#answer) return false;
    const { message, runId, end } = this.#answer;
    this.ends = new Map(this.ends).set(message.id, end);
    if (runId) this.#stopping.delete(runId);
    this.#veils.note(message.id, this.cursor);
    this.#ended = this.cursor;
    this.#answer = undefined;
    this.status = end.status;
    this.#decisions.ask(this.status, message);
    this.#decisions.settle(message.id, runId);
    this.#decisions.prune(this.messages);
    return true;
  }

  /**
   * The question as the server has it, ahead of its answer.
   * @param {any} message
   */
  #adopt(message) {
    if (!isMessage(message)) return;
    this.#line.forget(message.id);
    this.#veils.note(message.id, this.cursor);
    this.#transcript.adopt(message, this.growing?.id);
  }

  /**
   * @param {QueuedMessage[]} queue
   * @param {number} reading
   * @param {boolean} isHistory
   */
  #lineUp(queue, reading, isHistory) {
    const inChat = this.#line.load(queue, reading, (id) => this.#transcript.has(id), isHistory);
    for (const message of inChat) this.#transcript.showAhead(message);
  }
}

/** @type {ReadonlyMap<string, import("./types.js").ToolProgress>} */
const NO_PROGRESS = new Map();

/**
 * @param {any} metadata
 * @returns {RunEnd}
 */
const endOf = ({ finishReason, failureReason, errorText }) => ({
  finishReason: String(finishReason),
  reason: failureReason,
  errorText,
  status: "failed",
});
