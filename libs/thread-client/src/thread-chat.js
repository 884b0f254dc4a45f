/** One thread as a store: its messages and what goes on in it, read over one connection and changed by single calls. */

import { Conversation, isAfter } from "./conversation.js";
import { toolName } from "./fold.js";
import { newId } from "./ids.js";
import { watchPresence } from "./presence.js";
import { snapshotOf } from "./snapshot.js";
import { Stream } from "./stream.js";

const SETTLE_MS = 1_000;
const SETTLE_TRIES = 30;
const THROTTLE_MS = 16;
const HIDDEN_MS = 20_000;

export class ThreadChat {
  #client;
  #conversation = new Conversation();
  #stream;
  #watch;
  #run;
  #sendWhen;
  #throttle_ms;
  #hidden_ms;
  #loaded;
  #deleted = false;
  #connection = { state: "idle" };
  #error;
  #attachedAt;
  #sending = Promise.resolve();
  #lining;
  #lineAgain = false;
  #called = new Set();
  #listeners = new Set();
  #hearers = new Set();
  #snapshot;
  #stale = true;
  #telling;
  #told = 0;
  #closing;
  #leave;

  /**
   * - `client`: a DecopilotClient; `thread`: the thread's id
   * - `fresh`: the thread was made up here, so there is no history to ask for
   * - `run`: what each message says of its run unless it says otherwise: `agent`, `tier`, `mode`, `toolApprovalLevel`, …
   * - `watch`: a WatchClient; what it hears of the thread keeps queue and pending decisions of other tabs up to date
   * - `sendAutomaticallyWhen({messages})`: decisions (`addToolOutput`, `addToolApprovalResponse`) are kept until it is
   *   true, and then sent in one request; without it each is sent as soon as the answer has come to its end
   * - `onFinish({message, messages, finishReason, status, reason, errorText, isAbort, isError})`: an answer has ended
   * - `onData(chunk)`: a `data-…` chunk came; `onToolCall({toolCall: {toolCallId, toolName, input}})`: the model has
   *   called a tool, each call once; `onError(error)`: a refusal that no call of this object throws
   * - `throttle_ms`: how often listeners are told at most; `hidden_ms`: how long a hidden tab keeps its connection
   */
  constructor({
    client,
    thread,
    fresh = false,
    run = {},
    watch,
    sendAutomaticallyWhen,
    throttle_ms = THROTTLE_MS,
    hidden_ms = HIDDEN_MS,
    ...callbacks
  }) {
    this.#client = client;
    this.thread = thread;
    this.#loaded = fresh;
    this.#run = run;
    this.#watch = watch;
    this.#sendWhen = sendAutomaticallyWhen;
    this.#throttle_ms = throttle_ms;
    this.#hidden_ms = hidden_ms;
    this.#hearers.add(callbacks);
    this.#stream = new Stream({
      prepare: (signal) => this.#load(signal),
      connect: (signal) => {
        this.#attachedAt = this.#conversation.cursor;
        return client.attach(thread, { cursor: this.#attachedAt, rewind: "true" }, signal);
      },
      onEvent: (event, signal) => this.#take(event, signal),
      onState: (state, error, retryAt) => this.#deleted || this.#connect({ state, error, retryAt }),
      recover: (error) => {
        if (error.code === "thread_not_found") this.#markDeleted();
        if (error.code !== "invalid_cursor") return this.#deleted;
        this.#loaded = false;
        return true;
      },
    });
  }

  /** Be told of every change; the first listener opens the connection and the last one to go closes it. */
  subscribe = (listener) => {
    // Two subscriptions of one function are two.
    const told = () => listener();
    this.#listeners.add(told);
    clearTimeout(this.#closing);
    if (!this.#leave) this.#open();
    return () => {
      if (!this.#listeners.delete(told) || this.#listeners.size > 0) return;
      // Strict mode and hot reloads come back at once.
      this.#closing = setTimeout(() => this.#close(), 0);
    };
  };

  /** All there is to draw (`snapshot.js`); the same object until something changes. */
  getSnapshot = () => {
    if (this.#stale) {
      const [loaded, deleted, connection, error] = [this.#loaded, this.#deleted, this.#connection, this.#error];
      const more = { thread: this.thread, loaded, deleted, connection, error };
      this.#snapshot = snapshotOf(this.#conversation, this.#snapshot, more);
      this.#stale = false;
    }
    return this.#snapshot;
  };

  /** Have callbacks called, besides those of the constructor; returns what ends that. */
  listen(callbacks) {
    const own = { ...callbacks };
    this.#hearers.add(own);
    return () => this.#hearers.delete(own);
  }

  /** Try to connect again now, if a pause is being waited out. */
  wake = () => this.#stream.wake();

  /**
   * Send a message, shown at once; what was sent before is accepted before it. Resolves when it is accepted; throws the
   * refusal, with the `messageId`, after taking the message back. That id given as `id` repeats an attempt whose fate is
   * not known: the same id is the same run.
   *
   * `message`: a text, or `{text, files, id}`, `files` being parts of type `file`; or a whole UIMessage.
   * `interrupts`: the run that goes on is to end for it, instead of being waited for. `run`: as in the constructor.
   */
  async sendMessage(message, { interrupts = false, ...run } = {}) {
    const made = messageOf(message);
    this.#error = undefined;
    this.#conversation.offer(made, { interrupts });
    this.#changed();
    const before = this.#sending;
    const how = { onConflict: interrupts ? "interrupt" : "queue", ...this.#run, ...run };
    const accepted = before.then(() => this.#client.postMessage(this.thread, made, how));
    this.#sending = accepted.catch(() => {});
    try {
      const receipt = await accepted;
      this.#conversation.confirm(made, receipt, { interrupts });
      if (receipt.status === "queued") this.refreshQueue();
      // An attempt that had failed in appearance only was taken back in the meantime: said again, it is a new message.
      if (receipt.status === "withdrawn") await this.sendMessage({ ...made, id: newId("msg") }, { interrupts, ...run });
    } catch (error) {
      if (this.#conversation.withdraw(made)) {
        this.#error = error;
        throw Object.assign(error, { messageId: made.id });
      }
      // A message that was sent in its place and refused has been taken back already.
      if (error.messageId) throw error;
    } finally {
      this.#changed();
    }
  }

  /** Have an answer made anew, the last one unless it is named; the stream tells what goes with the old one. */
  async regenerate({ messageId, ...run } = {}) {
    this.#error = undefined;
    const { mode, ...how } = { ...this.#run, ...run };
    this.#conversation.started(await this.#client.regenerate(this.thread, messageId, how));
    this.#changed();
  }

  /** Ask for the end of the run that goes on; resolves to what came of it (docs/protocol.md 16), if anything was asked. */
  async stop() {
    const { runId, stopping } = this.#conversation;
    if (runId === undefined || stopping) return undefined;
    this.#conversation.stop(runId);
    this.#changed();
    try {
      const { status } = await this.#client.cancelRun(this.thread, runId);
      if (status !== "cancelling") this.#conversation.stop(runId, false);
      return status;
    } catch (error) {
      this.#conversation.stop(runId, false);
      throw error;
    } finally {
      this.#changed();
    }
  }

  /** Take back a message that waits in line. */
  async takeBack(messageId) {
    try {
      await this.#client.withdrawMessage(this.thread, messageId);
      this.#conversation.dequeue(messageId);
      this.#changed();
    } finally {
      this.refreshQueue();
    }
  }

  /** Answer a call of a tool: `{toolCallId, output}` or `{toolCallId, errorText}`. As `resolve`. */
  addToolOutput({ toolCallId, output, errorText }) {
    return this.resolve(errorText === undefined ? { toolCallId, output: output ?? null } : { toolCallId, errorText });
  }

  /** Approve or deny a call of a tool: `{id, approved, reason}`, `id` being the approval's. As `resolve`. */
  addToolApprovalResponse({ id, approved, reason }) {
    return this.resolve({ approvalId: id, approved, ...(reason ? { reason } : {}) });
  }

  /**
   * Decide something that the answer waits for, or will wait for: shown at once, and sent when the answer has come to its
   * end and `sendAutomaticallyWhen` agrees. Throws the refusal after taking back what was shown; what was decided
   * elsewhere is shown then.
   */
  async resolve(resolution) {
    if (!this.#conversation.decide(resolution)) return;
    this.#changed();
    await this.#decide();
  }

  clearError() {
    this.#error = undefined;
    this.#changed();
  }

  /** Look what became of all that the last answer waits for. */
  async catchUp() {
    try {
      this.#conversation.catchUp(await this.#client.getMessages(this.thread));
      this.#changed();
    } catch {
      // What is shown stays true as far as it is known.
    }
  }

  /** Read the queue again. What changes while it is being read may be missing in it, so then once more. */
  refreshQueue() {
    this.#lineAgain = true;
    this.#lining ??= this.#line().finally(() => (this.#lining = undefined));
    return this.#lining;
  }

  /** What the org's events tell of this thread, where its own stream says nothing; no run begins or ends by them. */
  hear({ type, subject, data }) {
    if (type !== "connected" && subject !== this.thread) return;
    if (type === "decopilot.thread.deleted") this.#markDeleted();
    if (this.#deleted || !this.#loaded) return;
    const isMissed = type === "connected" && !data?.resumed && this.#conversation.messages.length > 0;
    if (isMissed || type === "decopilot.thread.queue") this.refreshQueue();
    const isAnswered = type === "decopilot.thread.status" || type === "decopilot.thread.interactions";
    if ((isMissed || isAnswered) && this.#conversation.asks) this.catchUp();
  }

  #open() {
    const presence = watchPresence({
      hidden_ms: this.#hidden_ms,
      onHidden: () => this.#stream.close(),
      onShown: () => {
        if (!this.#deleted) this.#stream.open();
        this.#stream.wake();
      },
    });
    const unwatch = this.#watch?.subscribe((event) => this.hear(event));
    this.#leave = () => {
      presence();
      unwatch?.();
      this.#stream.close();
      this.#connect({ state: "idle" });
    };
    if (!this.#deleted) this.#stream.open();
  }

  #close() {
    this.#leave?.();
    this.#leave = undefined;
  }

  async #take({ id, data }, signal) {
    const chunk = parse(data);
    const isNew = this.#conversation.isNew(id);
    const effect = this.#conversation.accept(id, chunk);
    if (isNew) this.#sayWhatCame(chunk);
    if (effect === "deleted") this.#markDeleted();
    if (effect === "reset") await this.#reload(signal);
    if (effect === "lost") await this.#settle(signal, id);
    if (effect === "end") this.#finish();
    this.#changed();
    // Attaching at the history's cursor leaves no gap; where it was done and led here, the log itself has one.
    return effect === "reset" && this.#conversation.cursor !== this.#attachedAt;
  }

  #sayWhatCame(chunk) {
    if (String(chunk?.type).startsWith("data-")) this.#say("onData", chunk);
    if (chunk?.type !== "tool-input-available" || chunk.providerExecuted) return;
    const { toolCallId, toolName, input, dynamic } = chunk;
    this.#call(this.#conversation.answering?.id, { toolCallId, toolName, input, ...(dynamic ? { dynamic } : {}) });
  }

  /** Calls that were made while no tab was there wait for their answer all the same. */
  #callWhatWaits() {
    for (const { messageId, kind, id } of this.#conversation.pending) {
      const message = this.#conversation.messages.find((one) => one.id === messageId);
      const part = message?.parts.find(({ toolCallId }) => toolCallId === id);
      if (kind === "answer" && part) this.#call(messageId, { toolCallId: id, toolName: toolName(part), input: part.input });
    }
  }

  /** An attempt that takes over, or a replay, tells a call again: it is made once. */
  #call(messageId, toolCall) {
    const key = `${messageId} ${toolCall.toolCallId}`;
    if (this.#called.has(key)) return;
    this.#called.add(key);
    this.#say("onToolCall", { toolCall });
  }

  #finish() {
    this.#changed();
    const { messages, ends } = this.getSnapshot();
    const message = messages.at(-1);
    const { finishReason, status, reason, errorText, aborted } = ends.get(message.id) ?? {};
    const isAbort = aborted === true;
    const isError = status === "failed" && !isAbort;
    this.#say("onFinish", { message, messages, finishReason, status, reason, errorText, isAbort, isError });
    this.#decide().catch((error) => this.#say("onError", error));
  }

  /** Send the decisions that may be sent by now. */
  async #decide() {
    const decisions = this.#conversation.decisions;
    if (decisions.length === 0) return;
    if (this.#sendWhen && !(await this.#sendWhen({ messages: this.getSnapshot().messages }))) return;
    this.#conversation.deciding(decisions);
    this.#changed();
    try {
      this.#conversation.decided(decisions, await this.#client.postResolutions(this.thread, decisions));
    } catch (error) {
      this.#conversation.undecide(decisions);
      if (error.status >= 400 && error.status < 500) await this.catchUp();
      throw error;
    } finally {
      this.#changed();
    }
  }

  #say(name, told) {
    for (const hearer of this.#hearers) hearer[name]?.(told);
  }

  #connect(connection) {
    this.#connection = connection;
    if (connection.state === "expired" || connection.state === "refused") this.#say("onError", connection.error);
    this.#changed();
  }

  #changed() {
    this.#stale = true;
    if (this.#telling) return;
    const wait_ms = Math.max(0, this.#told + this.#throttle_ms - performance.now());
    this.#telling = setTimeout(() => {
      this.#telling = undefined;
      this.#told = performance.now();
      for (const listener of [...this.#listeners]) listener();
    }, wait_ms);
  }

  /** Somebody deleted the thread. */
  #markDeleted() {
    if (this.#deleted) return;
    this.#deleted = true;
    this.#stream.close();
    this.#conversation.load({ messages: [] });
    this.#connect({ state: "deleted" });
  }

  async #line() {
    while (this.#lineAgain) {
      this.#lineAgain = false;
      try {
        this.#conversation.line(await this.#client.getQueue(this.thread));
        this.#changed();
      } catch {
        // The stream and the next event of the queue correct what is shown.
      }
    }
  }

  async #load(signal) {
    if (this.#loaded) return;
    const began = this.#conversation.reading();
    try {
      const { thread } = this;
      const reading = [this.#client.getMessages(thread, signal), this.#client.getQueue(thread, signal)];
      const [history, queue] = await Promise.all(reading);
      // Asked second: an active run older than the messages could be waited for when it is over.
      const { status, activeRun } = await this.#present(history, signal);
      this.#conversation.load({ ...history, status, activeRun, queue }, began);
    } catch (error) {
      if (error.status !== 404) throw error;
      this.#conversation.load({ messages: [] }, began);
    }
    this.#loaded = true;
    this.#changed();
    this.#callWhatWaits();
  }

  /** The status that the history has; of a run that goes on also its id, so that it can be stopped before it begins. */
  async #present(history, signal) {
    if (history.status !== "in_progress" && history.status !== undefined) return history;
    const { status, activeRun } = await this.#client.getThread(this.thread, signal);
    return { status: history.status ?? status, activeRun };
  }

  #reload(signal) {
    this.#loaded = false;
    return this.#load(signal);
  }

  /** The end of a run whose beginning was lost in a reset: its answer is in the history as soon as that is written. */
  async #settle(signal, end) {
    for (let tries = 0; tries < SETTLE_TRIES && !signal.aborted; tries += 1) {
      await this.#reload(signal);
      if (this.#conversation.status !== "in_progress" || !isAfter(end, this.#conversation.cursor)) return;
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    }
  }
}

function messageOf(message) {
  const { id = newId("msg"), text, files = [], parts, ...rest } = typeof message === "string" ? { text: message } : message;
  if (parts) return { ...rest, id, role: rest.role ?? "user", parts };
  return { id, role: "user", parts: [...(text ? [{ type: "text", text }] : []), ...files], ...rest };
}

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}
