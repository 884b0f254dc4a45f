/**
 * A thread as this tab knows it: history, the run that is being folded, what waits in line or for a person, and what
 * was just sent or decided here. No I/O.
 */

import { isAfter } from "./cursor.js";
import { Decisions } from "./decisions.js";
import { createFold, foldChunk, isMessage, isToolDone } from "./fold.js";
import { keyOf, keyOfResolution, keysIn, unanswered } from "./interactions.js";
import { Line } from "./line.js";
import { Veils } from "./veils.js";

/** @typedef {import("./types.js").UIMessage} UIMessage */
/** @typedef {import("./types.js").Resolution} Resolution */
/** @typedef {import("./types.js").Receipt} Receipt */
/** @typedef {import("./types.js").Chunk} Chunk */
/** @typedef {import("./types.js").RunEnd} RunEnd */

const ENDED = new Set(["completed", "failed", "requires_action", "withdrawn"]);
/** Before everything (docs/protocol.md 21). */
const START = "0-0";
const UNNAMED_RUN = Symbol("a run whose id is not known");

export class Conversation {
  /** @type {UIMessage[]} */
  messages = [];
  /** @type {{messageId: string, keys: Set<string>} | undefined} What the last answer waits for. */
  asks;
  /** @type {ReadonlyMap<string, import("./types.js").ToolProgress>} How far tools are, by the id of their call. */
  progress = new Map();
  /** @type {import("./types.js").Retry | undefined} What the answer waits for, until it says anything else. */
  retry;
  /** Where to go on reading. Without any place a reconnect would begin at the active run, and miss those over by then. */
  cursor = START;
  /** @type {ReadonlyMap<string, RunEnd>} How runs ended, by the id of their answer. */
  ends = new Map();
  /** @type {string | undefined} */
  status;
  #line = new Line();
  #decisions = new Decisions();
  #veils = new Veils();
  /** @type {any} */
  #fold;
  /** @type {UIMessage | undefined} */
  #base;
  /** @type {string | undefined} */
  #run;
  /** @type {{id: string, runId?: string} | undefined} The answer that was cut off and is told again. */
  #again;
  /** @type {Set<string>} Messages that are known here before the stream tells of them: they stand behind all it tells. */
  #ahead = new Set();
  /** @type {Set<string>} */
  #seen = new Set();
  /**
   * Runs that were accepted and not seen yet: the reading before that, and the place before their first chunk.
   * @type {Map<string | symbol, {accepted: number, cursor?: string}>}
   */
  #awaited = new Map();
  /** @type {Set<string>} */
  #stopping = new Set();
  #heard = 0;
  /** Behind the last run that is known to have ended. */
  #ended = START;

  /** Messages that wait their turn: `{messageId, runId, message, interrupts}`, the next one first. */
  get queue() {
    return this.#line.queue;
  }

  /** @returns {UIMessage | undefined} The answer that is being streamed. */
  get answering() {
    const { id } = this.#fold?.message ?? this.#again ?? {};
    return id && this.messages.find((message) => message.id === id);
  }

  /** @returns {UIMessage | undefined} The message that is being folded; it changes, all others are replaced. */
  get growing() {
    return this.#fold?.message;
  }

  /** Sent, or known to run, and no chunk of it has come yet. */
  get waiting() {
    if (this.#fold || this.#again) return false;
    if (this.#awaited.size > 0 || this.messages.some(({ id }) => this.isUnconfirmed(id))) return true;
    return this.queue.length > 0 && this.status !== "requires_action";
  }

  /** How far the answer has come, while its next words are waited for: no tool is at work, and nothing else moves. */
  get speaking() {
    const parts = this.answering?.parts ?? [];
    const isBegun = parts.some(({ type }) => type !== "step-start");
    const isBusy = parts.some((part) => part.toolCallId !== undefined && !isToolDone(part));
    const isThinking = parts.at(-1)?.type === "reasoning" && parts.at(-1)?.state === "streaming";
    return isBegun && !isBusy && !isThinking && !this.stopping ? this.#heard : undefined;
  }

  get active() {
    return this.#fold !== undefined || this.#again !== undefined || this.waiting;
  }

  /** The run that goes on, as far as its id is known. */
  get runId() {
    if (this.#fold) return this.#run;
    if (this.#again) return this.#again.runId;
    return /** @type {string | undefined} */ ([...this.#awaited.keys()].findLast((run) => typeof run === "string"));
  }

  /** The end of the run was asked for, and has not come yet. */
  get stopping() {
    return this.active && this.#stopping.has(this.runId ?? "");
  }

  /** What waits for a decision: `{messageId, kind, id, isBusy}`; `isBusy` is what is being decided here. */
  get pending() {
    const { messageId, keys } = this.asks ?? { messageId: "", keys: [] };
    const known = [...keys].map((key) => ({ key, state: this.#decisions.stateOf(key, messageId) }));
    const open = known.filter(({ state }) => state !== "accepted");
    return open.map(({ key, state }) => ({ messageId, ...split(key), isBusy: state !== undefined }));
  }

  /**
   * Whether a message is in the chat or in line.
   * @param {string} id
   */
  has(id) {
    return this.#isShown(id) || this.#line.has(id);
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
   * @param {import("./types.js").History} history
   * @param {number} reading
   */
  load({ messages, cursor, status, pending, queue = [], activeRun }, reading = this.reading()) {
    const [held, answering, runId] = [this.messages.map((one) => this.#veils.shown(one)), this.answering, this.runId];
    this.messages = messages.filter(isMessage);
    this.#ahead.clear();
    this.cursor = this.#ended = cursor ?? START;
    this.#fold = this.#run = this.#base = this.#again = this.retry = undefined;
    for (const message of this.#veils.draw(held, this.messages, this.cursor)) this.#put(message);
    if (answering && this.#veils.has(answering.id)) this.#again = { id: answering.id, runId };
    for (const { id } of messages) this.#line.forget(id);
    const ends = new Map(this.ends);
    for (const { id, metadata } of this.messages) {
      // Why a run failed stands in its message: whoever opens the thread later did not see it end.
      if (metadata?.finishReason && !ends.has(id)) ends.set(id, endOf(metadata));
    }
    this.ends = ends;
    for (const [run, awaited] of this.#awaited) {
      // Whatever was accepted while it was being read may be told in it, all the same.
      const isPassed = awaited.cursor !== undefined && this.#isBehind(awaited.cursor);
      if (awaited.accepted < reading || isPassed) this.#awaited.delete(run);
    }
    const isAwaited = this.#awaited.size > 0;
    if (status === "in_progress" && !isAwaited) this.#awaited.set(activeRun?.runId ?? UNNAMED_RUN, { accepted: reading - 1 });
    if (activeRun?.cancelRequested) this.#stopping.add(activeRun.runId);
    this.status = isAwaited ? "in_progress" : status;
    this.#ask(this.messages.findLast(({ role }) => role === "assistant"), pending);
    this.#decisions.prune(this.messages);
    this.line(queue, reading, [], true);
  }

  /** There is no such thread, or not any more. */
  clear() {
    this.#veils.clear();
    this.#awaited.clear();
    this.load({ messages: [] });
  }

  /**
   * Take the server's queue as the truth, but for what the stream has shown to have begun since. `begun` are messages that
   * a history of a moment later has: they have left the line for the chat, and the stream is about to say so.
   * @param {import("./types.js").QueuedMessage[]} queue
   * @param {number} reading
   * @param {UIMessage[]} begun
   */
  line(queue, reading = this.reading(), begun = [], isHistory = false) {
    for (const { messageId, runId, message } of this.missingIn(queue)) {
      if (this.#isShown(messageId) || !begun.some(({ id }) => id === messageId)) continue;
      this.#showAhead(message);
      this.started({ runId, status: "in_progress", cursor: this.cursor });
    }
    const inChat = this.#line.load(queue, reading, (id) => this.#isShown(id), isHistory);
    for (const message of inChat) this.#showAhead(message);
  }

  /**
   * Messages that leave the line by this queue, though nothing has told yet what became of them.
   * @param {import("./types.js").QueuedMessage[]} queue
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
    if (!isQueued) this.#showAhead(message);
  }

  /**
   * The server accepted it. Chunks of the run may have overtaken this answer.
   * @param {UIMessage} message
   * @param {Receipt} receipt
   */
  confirm(message, { runId, status, cursor }, { interrupts = false } = {}) {
    const { id: messageId } = message;
    const wasOffered = this.#line.isOffered(messageId);
    const isKnown = this.#isPassed({ runId, status, cursor }) || (!wasOffered && this.#isShown(messageId));
    // Its run has begun to tell, but not yet of the question.
    if (isKnown && wasOffered && !this.#isShown(messageId)) this.#adopt(message);
    if (isKnown || ENDED.has(status)) this.#line.forget(messageId);
    if (isKnown) return;
    if (wasOffered) this.#leave(messageId);
    const isQueued = status === "queued";
    if (!isQueued && status !== "withdrawn" && !this.#isShown(messageId)) this.#showAhead(message);
    if (ENDED.has(status)) return;
    if (isQueued && interrupts && this.runId !== undefined) this.#stopping.add(this.runId);
    const accepted = this.#line.readings;
    this.#line.offer({ messageId, runId, message, interrupts, isQueued, accepted });
    if (!isQueued) this.#awaited.set(runId, { accepted, cursor });
  }

  /**
   * The server refused it: true if it was taken back, false if the stream has shown it to be accepted.
   * @param {UIMessage} message
   */
  withdraw(message) {
    if (!this.isUnconfirmed(message.id)) return false;
    this.#line.forget(message.id);
    this.#leave(message.id);
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
   * @param {{runId?: string | null, status: string, cursor?: string}} receipt
   */
  started({ runId, status, cursor }) {
    if (!runId || ENDED.has(status) || this.#isPassed({ runId, status, cursor })) return;
    this.#awaited.set(runId, { accepted: this.#line.readings, cursor });
    this.status = "in_progress";
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
    return this.asks && !this.#fold ? this.#decisions.heldOf(this.asks.messageId, this.asks.keys) : [];
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
  decided(resolutions, { runId, status, cursor }) {
    // Of a run that was seen to its end what it said is in the message by now.
    const isTold = !ENDED.has(status) && this.#seen.has(runId) && this.#run !== runId;
    if (isTold) this.#decisions.drop(resolutions);
    else this.#decisions.accept(resolutions, ENDED.has(status) ? undefined : runId);
    this.#decisions.prune(this.messages);
    this.started({ runId, status, cursor });
  }

  /**
   * Take from a newer history what came of all that the last answer waits for; a run that goes on tells it itself.
   * @param {import("./types.js").History} history
   */
  catchUp({ messages, cursor, status, pending }) {
    if (this.active || !this.asks || isAfter(this.cursor, cursor ?? this.cursor)) return;
    const message = messages.filter(isMessage).find(({ id }) => id === this.asks?.messageId);
    if (!message) return;
    this.#put(message);
    this.status = status;
    if (status === "in_progress") this.asks = { ...this.asks, keys: new Set() };
    else this.#ask(message, pending);
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
    if (cursor) this.cursor = cursor;
    this.#heard += 1;
    this.retry = this.#fold && chunk.type === "data-retry" ? chunk.data : undefined;
    const effect = this.#apply(chunk);
    if (cursor) {
      if (this.#veils.lift(cursor) && this.#again && !this.#veils.has(this.#again.id)) this.#again = undefined;
      if (this.#fold) this.#veils.note(this.#fold.message.id, cursor);
    }
    return effect;
  }

  /**
   * @param {Chunk} chunk
   * @returns {"lost" | "end" | undefined}
   */
  #apply(chunk) {
    switch (chunk.type) {
      case "data-user-message":
        this.#adopt(chunk.data?.message);
        return undefined;
      case "data-run":
        if (this.#fold) this.#see(chunk.data?.runId);
        return undefined;
      case "data-messages-dropped":
        this.#drop(chunk.data?.after);
        return undefined;
      case "data-run-rewind":
        this.#rewind(chunk);
        return undefined;
      case "start":
        this.#begin(chunk);
        return undefined;
      case "finish":
        if (!this.#fold) return "lost";
        this.#foldIn(chunk);
        this.#end();
        return "end";
      case "data-tool-progress":
        if (this.#fold) this.progress = new Map(this.progress).set(chunk.data?.toolCallId, chunk.data);
        return undefined;
      default:
        if (this.#fold) this.#foldIn(chunk);
        return undefined;
    }
  }

  /** @param {Chunk} chunk */
  #begin(chunk) {
    const id = String(chunk.messageId ?? `answer-${this.cursor}`);
    // A second `start` of the same answer is a replay: what was folded so far comes again.
    if (this.#fold?.message.id !== id) {
      const known = this.messages.find((message) => message.id === id);
      this.#base = known && this.#veils.baseOf(known);
    }
    this.#awaited.delete(UNNAMED_RUN);
    if (this.asks && this.asks.messageId !== id) this.#changeParts(this.asks.messageId, unanswered);
    this.#run = this.#again?.id === id ? this.#again.runId : undefined;
    this.asks = this.#again = undefined;
    this.progress = new Map();
    this.#fold = createFold(id, this.#base);
    this.#fold.message.role = "assistant";
    this.ends = new Map(this.ends);
    /** @type {Map<string, RunEnd>} */ (this.ends).delete(id);
    this.status = "in_progress";
    this.#foldIn(chunk);
    this.#put(this.#fold.message);
  }

  /** @param {string | undefined} runId */
  #see(runId) {
    if (runId === undefined) return;
    this.#run = runId;
    this.#seen.add(runId);
    this.#awaited.delete(runId);
  }

  /**
   * What a rewind says is the whole message, so it also tells one whose beginning was missed.
   * @param {Chunk} chunk
   */
  #rewind(chunk) {
    const message = chunk.data?.message;
    if (!isMessage(message)) return;
    if (this.#fold?.message.id !== message.id) this.#begin({ type: "start", messageId: message.id });
    this.#see(chunk.data.runId);
    this.#foldIn(chunk);
  }

  /** @param {Chunk} chunk */
  #foldIn(chunk) {
    const { message } = this.#fold;
    foldChunk(this.#fold, chunk);
    if (this.#fold.message !== message) this.#put(this.#fold.message);
  }

  #end() {
    const { message, finishReason, errorText, aborted, end } = this.#fold;
    const status = end?.status;
    const reason = end?.reason ?? message.metadata?.failureReason;
    this.ends = new Map(this.ends).set(message.id, { finishReason, errorText, aborted, status, reason });
    if (this.#run) this.#stopping.delete(this.#run);
    const run = this.#run;
    this.#veils.note(message.id, this.cursor);
    this.#ended = this.cursor;
    this.#fold = this.#run = this.#base = undefined;
    this.progress = new Map();
    this.status = status;
    this.#ask(message);
    this.#decisions.settle(message.id, run, this.asks?.keys ?? new Set());
    this.#decisions.prune(this.messages);
  }

  /**
   * Let a message's pending parts be decided; without `pending`, all that look so.
   * @param {UIMessage | undefined} message
   * @param {{kind: string, id: string}[]} [pending]
   */
  #ask(message, pending) {
    this.asks = undefined;
    if (this.status !== "requires_action" || !message) return;
    const keys = pending ? new Set(pending.map(({ kind, id }) => `${kind}:${id}`)) : keysIn(message);
    this.asks = { messageId: message.id, keys };
  }

  /**
   * The question as the server has it, ahead of its answer.
   * @param {any} message
   */
  #adopt(message) {
    if (!isMessage(message)) return;
    this.#line.forget(message.id);
    this.#veils.note(message.id, this.cursor);
    if (this.#ahead.has(message.id)) this.#leave(message.id);
    if (this.#isShown(message.id)) this.#put(message);
    else {
      const place = this.messages.findIndex(({ id }) => id === this.#fold?.message.id);
      this.messages.splice(place < 0 ? this.#toldUpTo : place, 0, message);
    }
  }

  /**
   * A message is answered anew: what stood behind it has left the thread, all but what is sent or said right now.
   * @param {string} after
   */
  #drop(after) {
    const last = this.messages.findIndex(({ id }) => id === after);
    if (last < 0) return;
    this.messages = this.messages.filter(
      ({ id }, place) => place <= last || id === this.#fold?.message.id || this.#ahead.has(id),
    );
  }

  /**
   * Whether a run was seen, or a history from behind its beginning was read: whatever it said is here.
   * @param {{runId: string, status: string, cursor?: string}} receipt
   */
  #isPassed({ runId, status, cursor }) {
    if (this.#seen.has(runId)) return true;
    return cursor !== undefined && status === "in_progress" && this.#isBehind(cursor);
  }

  /**
   * Whether what is here goes on beyond this place.
   * @param {string} cursor
   */
  #isBehind(cursor) {
    return cursor !== this.cursor && isAfter(this.cursor, cursor);
  }

  /** @param {string} id */
  #leave(id) {
    this.#ahead.delete(id);
    this.messages = this.messages.filter((message) => message.id !== id);
  }

  /** @param {UIMessage} message */
  #showAhead(message) {
    this.#ahead.add(message.id);
    this.messages.push(message);
  }

  /** The place behind all that history and stream have told. */
  get #toldUpTo() {
    const place = this.messages.findIndex(({ id }) => this.#ahead.has(id));
    return place < 0 ? this.messages.length : place;
  }

  /** @param {string} id */
  #isShown(id) {
    return this.messages.some((message) => message.id === id);
  }

  /** @param {UIMessage} message */
  #put(message) {
    const index = this.messages.findIndex(({ id }) => id === message.id);
    if (index < 0) this.messages.splice(this.#toldUpTo, 0, message);
    else this.messages[index] = message;
  }

  /**
   * @param {string} id
   * @param {(part: any) => any} change
   */
  #changeParts(id, change) {
    const message = this.messages.find((known) => known.id === id);
    if (message) this.#put({ ...message, parts: message.parts.map(change) });
  }
}

/** @param {string} key */
const split = (key) => ({
  kind: /** @type {"approval" | "answer"} */ (key.slice(0, key.indexOf(":"))),
  id: key.slice(key.indexOf(":") + 1),
});

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
