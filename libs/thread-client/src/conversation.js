/**
 * A thread as this tab knows it: history, the run that is being folded, what waits in line or for a person, and what
 * was just sent or decided here. No I/O.
 */

import { createFold, foldChunk, isMessage, isToolDone } from "./fold.js";
import { answered, keyOf, keyOfResolution, keysIn, unanswered } from "./interactions.js";

const ENDED = new Set(["completed", "failed", "requires_action", "withdrawn"]);
const UNNAMED_RUN = Symbol("a run whose id is not known");

export class Conversation {
  messages = [];
  /** Messages that wait their turn: `{messageId, runId, message, interrupts}`, the next one first. */
  queue = [];
  /** What the last answer waits for: `{messageId, keys}`. */
  asks;
  /** How far tools are, by the id of their call: `{progress, total, message}`. */
  progress = new Map();
  /** What the answer waits for that is tried again: `{attempt, delayMs, category}`, until it says anything else. */
  retry;
  /** Where to go on reading; undefined until the server named a place. */
  cursor;
  /** How runs ended, by the id of their answer: `{finishReason, errorText, aborted, status, reason}`. */
  ends = new Map();
  status;
  #fold;
  #base;
  #run;
  #runsSeen = new Set();
  #awaitedRun;
  #stopping = new Set();
  /** Sent by this tab and not seen in the log yet, by message id: `{messageId, message, interrupts, inLine, accepted?}`. */
  #offers = new Map();
  /** Decided by this tab and not seen in the log yet, by key: `{messageId, resolution, state, runId?}`. */
  #facts = new Map();
  /** Counts readings of the history: what was accepted before one began is decided by what that one says. */
  #readings = 0;
  #horizon;
  #heard = 0;

  /** The answer that is being streamed. */
  get answering() {
    return this.#fold?.message;
  }

  /** Sent, or known to run, and no chunk of it has come yet. */
  get waiting() {
    if (this.#fold) return false;
    if (this.#awaitedRun !== undefined || this.messages.some(({ id }) => this.isUnconfirmed(id))) return true;
    return this.queue.length > 0 && this.status !== "requires_action";
  }

  /** How far the answer has come, while its next words are waited for: no tool is at work, and nothing else moves. */
  get speaking() {
    const parts = this.answering?.parts ?? [];
    const isBegun = parts.some(({ type }) => type !== "step-start");
    const isBusy = parts.some((part) => part.toolCallId !== undefined && !isToolDone(part));
    const isThinking = parts.at(-1)?.type === "reasoning" && parts.at(-1).state === "streaming";
    return isBegun && !isBusy && !isThinking && !this.stopping ? this.#heard : undefined;
  }

  get active() {
    return this.#fold !== undefined || this.waiting;
  }

  /** The run that goes on, as far as its id is known. */
  get runId() {
    if (this.#fold) return this.#run;
    return typeof this.#awaitedRun === "string" ? this.#awaitedRun : undefined;
  }

  /** The end of the run was asked for, and has not come yet. */
  get stopping() {
    return this.active && this.#stopping.has(this.runId);
  }

  /** Whether a message is in the chat or in line. */
  has(id) {
    return this.#isShown(id) || this.queue.some(({ messageId }) => messageId === id);
  }

  /** It was sent, and the server has not accepted it yet. */
  isUnconfirmed(id) {
    return this.#offers.has(id) && this.#offers.get(id).accepted === undefined;
  }

  /** A message as it is shown: with what was decided here and is not in the log yet. */
  shown(message) {
    const facts = [...this.#facts.values()].filter(({ messageId }) => messageId === message.id);
    if (facts.length === 0) return message;
    const changed = (part) => {
      const fact = this.#facts.get(keyOf(part));
      return fact?.messageId === message.id ? answered(part, fact.resolution) : part;
    };
    return { ...message, parts: message.parts.map(changed) };
  }

  /** What waits for a decision: `{messageId, kind, id, isBusy}`; `isBusy` is what is being decided here. */
  get pending() {
    const { messageId, keys = [] } = this.asks ?? {};
    const open = [...keys].filter((key) => this.#facts.get(key)?.state !== "accepted");
    return open.map((key) => {
      const [kind, id] = split(key);
      return { messageId, kind, id, isBusy: this.#facts.has(key) };
    });
  }

  /** The history begins to be read; what this returns goes into `load`. */
  reading() {
    this.#readings += 1;
    return this.#readings;
  }

  /**
   * Take the server's history as the truth; the stream goes on behind its cursor. What was accepted while it was being
   * read (`reading`) may be missing in it and stays.
   */
  load({ messages, cursor, status, pending, queue = [], activeRun }, reading = this.reading()) {
    this.messages = messages.filter(isMessage);
    for (const { id, metadata } of this.messages) {
      // Why a run failed stands in its message: whoever opens the thread later did not see it end.
      if (metadata?.finishReason && !this.ends.has(id)) this.ends.set(id, endOf(metadata));
    }
    this.#fold = this.#run = undefined;
    this.status = status;
    this.cursor = this.#horizon = cursor ?? undefined;
    this.#awaitedRun = status === "in_progress" ? (activeRun?.runId ?? UNNAMED_RUN) : undefined;
    if (activeRun?.cancelRequested) this.#stopping.add(activeRun.runId);
    for (const [id, { accepted }] of this.#offers) {
      if (this.#isShown(id) || (accepted && accepted.reading < reading)) this.#offers.delete(id);
      else if (accepted && !ENDED.has(accepted.status) && !this.#runsSeen.has(accepted.runId)) {
        this.#awaitedRun = accepted.runId;
      }
    }
    this.#ask(this.messages.findLast(({ role }) => role === "assistant"), pending);
    this.#prune();
    const goesOn = [...this.#facts.values()].find(({ runId }) => runId !== undefined && !this.#runsSeen.has(runId));
    if (goesOn) this.started({ runId: goesOn.runId, status: "in_progress" });
    this.line(queue);
  }

  /** Take the server's queue as the truth, but for what the stream has shown to have begun since. */
  line(queue) {
    this.queue = queue.filter(({ message }) => isMessage(message) && !this.#isShown(message.id));
    for (const [id, offer] of this.#offers) {
      if (this.has(id)) continue;
      if (offer.inLine) this.#enqueue(offer);
      else this.messages.push(offer.message);
    }
  }

  /** Show a message that the server has not accepted yet: in line if there is a run before it. */
  offer(message, { interrupts = false } = {}) {
    const offer = { messageId: message.id, message, interrupts, inLine: this.active };
    this.#offers.set(message.id, offer);
    if (offer.inLine) this.#enqueue(offer);
    else this.messages.push(message);
  }

  /** The server accepted it. Chunks of the run may have overtaken this answer. */
  confirm(message, { runId, status, cursor }, { interrupts = false } = {}) {
    const offer = this.#offers.get(message.id);
    this.#offers.delete(message.id);
    const wasOffered = offer !== undefined;
    // Without any place to go on from, a reconnect would start at the active run and miss one that is over by then.
    this.cursor ??= cursor ?? undefined;
    this.dequeue(message.id);
    if (this.#runsSeen.has(runId)) return;
    if (wasOffered) this.messages = this.messages.filter(({ id }) => id !== message.id);
    if (status === "withdrawn") return;
    if (status === "queued") {
      this.#enqueue({ messageId: message.id, runId, message, interrupts });
      if (interrupts && this.runId !== undefined) this.#stopping.add(this.runId);
      return;
    }
    if (!this.#isShown(message.id)) this.messages.push(message);
    if (ENDED.has(status)) return;
    if (offer) this.#offers.set(message.id, { ...offer, inLine: false, accepted: { runId, status, reading: this.#readings } });
    this.#awaitedRun = runId;
  }

  /** The server refused it: true if it was taken back, false if the stream has shown it to be accepted. */
  withdraw(message) {
    if (!this.isUnconfirmed(message.id)) return false;
    this.#offers.delete(message.id);
    this.messages = this.messages.filter(({ id }) => id !== message.id);
    this.dequeue(message.id);
    return true;
  }

  /** It waits in line no more. */
  dequeue(messageId) {
    this.queue = this.queue.filter((queued) => queued.messageId !== messageId);
  }

  /** The run's end is being asked for, or can't be. */
  stop(runId, asked = true) {
    if (asked) this.#stopping.add(runId);
    else this.#stopping.delete(runId);
  }

  /** A run was accepted that no message of this tab is for. Its chunks may have overtaken this answer. */
  started({ runId, status }) {
    if (ENDED.has(status) || this.#runsSeen.has(runId)) return;
    this.#awaitedRun = runId;
    this.status = "in_progress";
  }

  /**
   * Something that an answer waits for, or will wait for, is decided here: shown from now on, and sent when `send`
   * takes it. Returns false where there is no such call, or none that waits.
   */
  decide(resolution) {
    const key = keyOfResolution(resolution);
    const message = this.messages.findLast(({ parts }) => parts.some((part) => keyOf(part) === key));
    if (!message || this.#facts.get(key)?.state === "accepted") return false;
    this.#facts.set(key, { messageId: message.id, resolution, state: "held" });
    return true;
  }

  /** The decisions that the server may be told of now: none before the answer has come to its end. */
  get decisions() {
    const keys = this.asks && !this.#fold ? this.asks.keys : new Set();
    const held = [...this.#facts].filter(([key, { state }]) => state === "held" && keys.has(key));
    return held.map(([, { resolution }]) => resolution);
  }

  /** They are on their way to the server. */
  deciding(resolutions) {
    for (const resolution of resolutions) this.#changeFact(resolution, { state: "sending" });
  }

  /** The server refused them, or can't be reached: what was shown of them is taken back. */
  undecide(resolutions) {
    for (const resolution of resolutions) this.#facts.delete(keyOfResolution(resolution));
  }

  /** The server took the decisions; with the last one the run goes on, and may have overtaken this answer. */
  decided(resolutions, { runId, status }) {
    const goesOn = !ENDED.has(status);
    for (const one of resolutions) this.#changeFact(one, { state: "accepted", ...(goesOn ? { runId } : {}) });
    this.#prune();
    this.started({ runId, status });
  }

  /** Take from a newer history what came of all that the last answer waits for; a run that goes on tells it itself. */
  catchUp({ messages, cursor, status, pending }) {
    if (this.active || !this.asks || isAfter(this.cursor, cursor ?? this.cursor)) return;
    const message = messages.filter(isMessage).find(({ id }) => id === this.asks.messageId);
    if (!message) return;
    this.#put(message);
    this.status = status;
    if (status === "in_progress") this.asks = { ...this.asks, keys: new Set() };
    else this.#ask(message, pending);
    this.#prune();
  }

  /** Whether a chunk at this position is new here; chunks without one are. */
  isNew(cursor) {
    return !cursor || isAfter(cursor, this.#horizon);
  }

  /**
   * Take in one chunk of the thread's stream.
   * Returns "reset" or "lost" when the history must be read again, "end" at the end of a run, "deleted" at that of the
   * thread.
   */
  accept(cursor, chunk) {
    if (chunk?.type === "data-thread-reset") return "reset";
    if (chunk?.type === "data-thread-deleted") return "deleted";
    if (!this.isNew(cursor)) return undefined;
    if (cursor) this.cursor = cursor;
    this.#heard += 1;
    this.retry = this.#fold && chunk?.type === "data-retry" ? chunk.data : undefined;
    switch (chunk?.type) {
      case "data-user-message":
        this.#adopt(chunk.data?.message);
        return undefined;
      case "data-run":
        this.#runsSeen.add(chunk.data?.runId);
        if (!this.#fold) return undefined;
        this.#run = chunk.data?.runId;
        if (this.#awaitedRun === this.#run) this.#awaitedRun = undefined;
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
        if (this.#fold && chunk) this.#foldIn(chunk);
        return undefined;
    }
  }

  #begin(chunk) {
    const id = String(chunk.messageId ?? `answer-${this.cursor}`);
    // A second `start` of the same answer is a replay: what was folded so far comes again.
    if (this.#fold?.message.id !== id) this.#base = this.messages.find((message) => message.id === id);
    if (this.#awaitedRun === UNNAMED_RUN) this.#awaitedRun = undefined;
    if (this.asks && this.asks.messageId !== id) this.#changeParts(this.asks.messageId, unanswered);
    this.asks = this.#run = undefined;
    this.progress = new Map();
    this.#fold = createFold(id, this.#base);
    this.#fold.message.role = "assistant";
    this.ends.delete(id);
    this.status = "in_progress";
    this.#foldIn(chunk);
    this.#put(this.#fold.message);
  }

  /** What a rewind says is the whole message, so it also tells one whose beginning was missed. */
  #rewind(chunk) {
    const message = chunk.data?.message;
    if (!isMessage(message)) return;
    if (this.#fold?.message.id !== message.id) this.#begin({ type: "start", messageId: message.id });
    this.#run = chunk.data.runId ?? this.#run;
    this.#runsSeen.add(this.#run);
    if (this.#awaitedRun === this.#run) this.#awaitedRun = undefined;
    this.#foldIn(chunk);
  }

  #foldIn(chunk) {
    const { message } = this.#fold;
    foldChunk(this.#fold, chunk);
    if (this.#fold.message !== message) this.#put(this.#fold.message);
  }

  #end() {
    const { message, finishReason, errorText, aborted, end } = this.#fold;
    const status = end?.status;
    const reason = end?.reason ?? message.metadata?.failureReason;
    this.ends.set(message.id, { finishReason, errorText, aborted, status, reason });
    this.#stopping.delete(this.#run);
    this.#fold = this.#run = undefined;
    this.progress = new Map();
    this.status = status;
    this.#ask(message);
    this.#prune();
  }

  /** Let a message's pending parts be decided; without `pending`, all that look so. */
  #ask(message, pending) {
    this.asks = undefined;
    if (this.status !== "requires_action" || !message) return;
    const keys = pending ? new Set(pending.map(({ kind, id }) => `${kind}:${id}`)) : keysIn(message);
    this.asks = { messageId: message.id, keys };
  }

  /** What the log says by itself of a decision needs no word from here. */
  #prune() {
    for (const [key, { messageId }] of this.#facts) {
      const message = this.messages.find(({ id }) => id === messageId);
      if (!message?.parts.some((part) => keyOf(part) === key)) this.#facts.delete(key);
    }
  }

  #changeFact(resolution, change) {
    const key = keyOfResolution(resolution);
    if (this.#facts.has(key)) this.#facts.set(key, { ...this.#facts.get(key), ...change });
  }

  /** The question as the server has it, ahead of its answer. */
  #adopt(message) {
    if (!isMessage(message)) return;
    this.#offers.delete(message.id);
    this.dequeue(message.id);
    if (this.#isShown(message.id)) this.#put(message);
    else {
      const place = this.#fold ? this.messages.indexOf(this.#fold.message) : this.messages.length;
      this.messages.splice(place, 0, message);
    }
  }

  /** A message is answered anew: what stood behind it has left the thread, all but what is sent or said right now. */
  #drop(after) {
    const last = this.messages.findIndex(({ id }) => id === after);
    if (last < 0) return;
    const stays = ({ id }, place) => place <= last || id === this.#fold?.message.id || this.#offers.has(id);
    this.messages = this.messages.filter(stays);
  }

  #enqueue(queued) {
    if (queued.interrupts) this.queue = [queued, ...this.queue];
    else this.queue = [...this.queue, queued];
  }

  #isShown(id) {
    return this.messages.some((message) => message.id === id);
  }

  #put(message) {
    const index = this.messages.findIndex(({ id }) => id === message.id);
    if (index < 0) this.messages.push(message);
    else this.messages[index] = message;
  }

  #changeParts(id, change) {
    const message = this.messages.find((known) => known.id === id);
    if (message) this.#put({ ...message, parts: message.parts.map(change) });
  }
}

const split = (key) => [key.slice(0, key.indexOf(":")), key.slice(key.indexOf(":") + 1)];

const endOf = ({ finishReason, failureReason, errorText }) => ({
  finishReason: String(finishReason),
  reason: failureReason,
  errorText,
  status: "failed",
});

/** Order of `<sequence>-<index>`; an id of another form is taken as new rather than dropped. */
export function isAfter(id, other) {
  const [a, b] = [id, other].map((text) => /^(\d+)-(\d+)$/.exec(text ?? "")?.slice(1).map(Number));
  return !a || !b || a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]);
}
