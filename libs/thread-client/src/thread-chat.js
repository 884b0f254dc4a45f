/** One thread as a store: its messages and what goes on in it, read over one connection and changed by single calls. */

import { Beacon, canPaint } from "./beacon.js";
import { Conversation } from "./conversation.js";
import { ApiError, report } from "./errors.js";
import { Hearers } from "./hearers.js";
import { newId } from "./ids.js";
import { watchPresence } from "./presence.js";
import { ThreadReader } from "./reader.js";
import { snapshotOf } from "./snapshot.js";

/** @typedef {import("./types.js").UIMessage} UIMessage */
/** @typedef {import("./types.js").RunOptions} RunOptions */
/** @typedef {import("./types.js").Resolution} Resolution */
/** @typedef {import("./types.js").Snapshot} Snapshot */
/** @typedef {string | UIMessage | {text?: string, files?: import("./types.js").FilePart[], id?: string, metadata?: any}} NewMessage */
/**
 * @typedef {object} Options
 * @property {import("./client.js").DecopilotClient} client
 * @property {string} thread the thread's id
 * @property {boolean} [fresh] the thread was made up here, so there is no history to ask for
 * @property {RunOptions} [run] what each message says of its run unless it says otherwise
 * @property {{subscribe: (listener: (event: import("./types.js").WatchEvent) => void) => () => void}} [watch] a
 *   WatchClient; what it hears of the thread keeps queue and pending decisions of other tabs up to date
 * @property {(told: {messages: readonly UIMessage[]}) => boolean | PromiseLike<boolean>} [sendAutomaticallyWhen] decisions
 *   are kept until it is true, and then sent in one request; without it each is sent as soon as the answer has come to its end
 * @property {false | {isDrawn?: () => boolean}} [paint] how it is known when something that listeners were told is in the
 *   document, if that is not in the next frame; false: nothing is measured, whatever the server wants (docs/beacon.md)
 * @property {number} [throttle_ms] how often listeners are told at most
 * @property {number} [hidden_ms] how long a hidden tab keeps its connection
 */

const THROTTLE_MS = 16;
const HIDDEN_MS = 20_000;
const PATIENCE_MS = 1_000;

export class ThreadChat {
  #client;
  #conversation = new Conversation();
  #reader;
  #beacon;
  #watch;
  #run;
  #sendWhen;
  #throttle_ms;
  #hidden_ms;
  #deleted = false;
  /** @type {import("./types.js").Connection} */
  #connection = { state: "idle" };
  /** @type {Error | undefined} */
  #error;
  /** @type {string | undefined} The answer whose failure was cleared. */
  #forgiven;
  /** @type {Promise<void>} */
  #sending = Promise.resolve();
  /** @type {Promise<void> | undefined} */
  #lining;
  #lineAgain = false;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  #hearers = new Hearers();
  /** @type {Snapshot | undefined} */
  #snapshot;
  #stale = true;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #telling;
  #told = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #closing;
  /** @type {(() => void) | undefined} */
  #leave;

  /** @param {Options & import("./types.js").Callbacks} options */
  constructor({
    client,
    thread,
    fresh = false,
    run = {},
    watch,
    sendAutomaticallyWhen,
    paint,
    throttle_ms = THROTTLE_MS,
    hidden_ms = HIDDEN_MS,
    ...callbacks
  }) {
    this.#client = client;
    this.thread = thread;
    this.#run = run;
    this.#watch = watch;
    this.#sendWhen = sendAutomaticallyWhen;
    this.#throttle_ms = throttle_ms;
    this.#hidden_ms = hidden_ms;
    this.#hearers.add(callbacks);
    if (paint !== false && canPaint()) {
      const onPaint = this.#hearers.say.bind(this.#hearers, "onPaint");
      this.#beacon = new Beacon({ client, thread, onPaint, ...paint });
    }
    const [conversation, beacon] = [this.#conversation, this.#beacon];
    const told = {
      /** @type {(state: import("./types.js").ConnectionState, error?: Error, retryAt?: number) => void} */
      onState: (state, error, retryAt) => this.#deleted || this.#connect({ state, error, retryAt }),
      onLoaded: () => {
        this.#changed();
        this.#hearers.callWhatWaits(this.#conversation);
        // The end of the answer that they were held for may have been in what was read.
        this.#decideOfItself();
      },
      onChunk: this.#hear.bind(this),
      onAnew: () => this.#hearers.forget(),
      onDeleted: () => this.#markDeleted(),
    };
    this.#reader = new ThreadReader({ client, thread, conversation, loaded: fresh, beacon, told });
  }

  /**
   * Be told of every change; the first listener opens the connection and the last one to go closes it.
   * @param {() => void} listener
   */
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

  /** All there is to draw; the same object until something changes. */
  getSnapshot = () => {
    if (this.#stale || !this.#snapshot) {
      const [deleted, connection, error, forgiven] = [this.#deleted, this.#connection, this.#error, this.#forgiven];
      const more = { thread: this.thread, loaded: this.#reader.loaded, deleted, connection, error, forgiven };
      this.#snapshot = snapshotOf(this.#conversation, this.#snapshot, more);
      this.#stale = false;
    }
    return this.#snapshot;
  };

  /**
   * Have callbacks called, besides those of the constructor; returns what ends that.
   * @param {import("./types.js").Callbacks} callbacks
   */
  listen(callbacks) {
    return this.#hearers.add(callbacks);
  }

  /** Try to connect again now, if a pause is being waited out or the connection was given up. */
  wake = () => this.#reader.wake();

  /**
   * Send a message, shown at once; what was sent before is accepted before it, and where that is refused this one is, too.
   * Resolves when it is accepted; throws the refusal, with the `messageId`, after taking the message back. That id given as
   * `id` repeats an attempt whose fate is not known: the same id is the same run.
   *
   * `message`: a text, or `{text, files, id}`, `files` being parts of type `file`; or a whole UIMessage.
   * `interrupts`: the run that goes on is to end for it, instead of being waited for. `run`: as in the constructor.
   * @param {NewMessage} message
   * @param {RunOptions & {interrupts?: boolean}} options
   * @returns {Promise<void>}
   */
  async sendMessage(message, { interrupts = false, ...run } = {}) {
    const made = messageOf(message);
    this.#error = undefined;
    const how = { onConflict: interrupts ? "interrupt" : "queue", ...this.#run, ...run };
    const sent = this.#send(made, how, interrupts, this.#sending);
    this.#sending = sent;
    try {
      await sent;
    } finally {
      // Whoever comes from now on was not said behind it.
      if (this.#sending === sent) this.#sending = Promise.resolve();
    }
  }

  /**
   * Have an answer made anew, the last one unless it is named; the stream tells what goes with the old one.
   * @param {RunOptions & {messageId?: string}} options
   */
  async regenerate({ messageId, ...run } = {}) {
    this.#error = undefined;
    this.#changed();
    const { mode, ...how } = { ...this.#run, ...run };
    const ask = () => this.#client.regenerate(this.thread, messageId, how);
    // While a run goes on it is refused for good; where none does as far as is known here, one has ended just now.
    const { active } = this.#conversation;
    this.#conversation.started(active ? await ask() : await patiently("run_active", ask));
    this.#changed();
  }

  /**
   * Begin another thread with what this one holds, up to a message and with it, or with all of it. Resolves to its id.
   * @param {{messageId?: string}} options
   */
  async fork({ messageId } = {}) {
    const ask = () => this.#client.fork(this.thread, messageId);
    return this.#conversation.active ? ask() : patiently("message_not_found", ask);
  }

  /**
   * Ask for the end of the run that goes on; of a message that is being sent, once it is accepted. Resolves to what came of
   * it (docs/protocol.md 16), if anything was asked.
   */
  async stop() {
    if (this.#conversation.runId === undefined) await this.#sending.catch(() => {});
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

  /**
   * Take back a message that waits in line.
   * @param {string} messageId
   */
  async takeBack(messageId) {
    try {
      await this.#client.withdrawMessage(this.thread, messageId);
      this.#conversation.dequeue(messageId);
      this.#changed();
    } finally {
      this.refreshQueue();
    }
  }

  /**
   * Answer a call of a tool: `{toolCallId, output}` or `{toolCallId, errorText}`. As `resolve`.
   * @param {{toolCallId: string, output?: unknown, errorText?: string}} answer
   */
  addToolOutput({ toolCallId, output, errorText }) {
    return this.resolve(errorText === undefined ? { toolCallId, output: output ?? null } : { toolCallId, errorText });
  }

  /**
   * Approve or deny a call of a tool: `{id, approved, reason}`, `id` being the approval's. As `resolve`.
   * @param {{id: string, approved: boolean, reason?: string}} verdict
   */
  addToolApprovalResponse({ id, approved, reason }) {
    return this.resolve({ approvalId: id, approved, ...(reason ? { reason } : {}) });
  }

  /**
   * Decide something that the answer waits for, or will wait for: shown at once, and sent when the answer has come to its
   * end and `sendAutomaticallyWhen` agrees. Throws the refusal after taking back what was shown; what was decided
   * elsewhere is shown then.
   * @param {Resolution} resolution
   */
  async resolve(resolution) {
    if (!this.#conversation.decide(resolution)) return;
    this.#changed();
    await this.#decide();
  }

  /** Whatever the snapshot has as `error` is known, and need not be shown any more. */
  clearError() {
    this.#error = undefined;
    this.#forgiven = this.#conversation.messages.at(-1)?.id;
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

  /**
   * What the org's events tell of this thread, where its own stream says nothing; no run begins or ends by them.
   * @param {import("./types.js").WatchEvent} event
   */
  hear({ type, subject, data }) {
    if (type !== "connected" && subject !== this.thread) return;
    if (type === "decopilot.thread.deleted") this.#markDeleted();
    if (this.#deleted || !this.#reader.loaded) return;
    const isMissed = type === "connected" && !data?.resumed && this.#conversation.isBegun;
    const isOfLine = type === "decopilot.thread.queue";
    if (isOfLine && data?.status === "withdrawn" && data.messageId) this.#conversation.dequeue(data.messageId);
    if (isMissed || isOfLine) this.refreshQueue();
    const isAnswered = type === "decopilot.thread.status" || type === "decopilot.thread.interactions";
    if ((isMissed || isAnswered) && this.#conversation.asks) this.catchUp();
  }

  /**
   * @param {UIMessage} made
   * @param {RunOptions} how
   * @param {boolean} interrupts
   * @param {Promise<void>} before
   */
  async #send(made, how, interrupts, before) {
    this.#conversation.offer(made, { interrupts });
    this.#changed();
    try {
      await before.catch(refuseBehind);
      const receipt = await this.#client.postMessage(this.thread, made, how);
      this.#conversation.confirm(made, receipt, { interrupts });
      if (receipt.status === "queued") this.refreshQueue();
      // An attempt that had failed in appearance only was taken back in the meantime: said again, it is a new message.
      if (receipt.status === "withdrawn") await this.#send({ ...made, id: newId("msg") }, how, interrupts, Promise.resolve());
    } catch (caught) {
      const error = /** @type {ApiError} */ (caught);
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

  #open() {
    const presence = watchPresence({
      hidden_ms: this.#hidden_ms,
      onHidden: () => {
        this.#reader.close();
        if (!this.#deleted) this.#connect({ state: "idle" });
      },
      onShown: () => {
        if (!this.#deleted) this.#reader.open();
        this.#reader.wake();
      },
      onOnline: () => this.#reader.renew(),
    });
    const unwatch = this.#watch?.subscribe((event) => this.hear(event));
    this.#leave = () => {
      presence();
      unwatch?.();
      this.#reader.close();
      this.#beacon?.close();
      if (!this.#deleted) this.#connect({ state: "idle" });
      clearTimeout(this.#telling);
      this.#telling = undefined;
    };
    if (!this.#deleted) this.#reader.open();
  }

  #close() {
    this.#leave?.();
    this.#leave = undefined;
  }

  /**
   * @param {string | undefined} cursor
   * @param {import("./types.js").Chunk} chunk
   * @param {string | undefined} messageId
   * @param {boolean} isEnd
   */
  #hear(cursor, chunk, messageId, isEnd) {
    this.#changed();
    const isNew = this.#hearers.hear(cursor, chunk, messageId);
    if (!isEnd || !isNew) return;
    const { messages, ends } = this.getSnapshot();
    const message = messages.find(({ id }) => id === messageId);
    if (message) {
      const { finishReason, status, reason, errorText, aborted } = ends.get(message.id) ?? {};
      const isAbort = aborted === true;
      const isError = status === "failed" && !isAbort;
      this.#hearers.say("onFinish", { message, messages, finishReason, status, reason, errorText, isAbort, isError });
    }
    this.#decideOfItself();
  }

  #decideOfItself() {
    this.#decide().catch((error) => this.#hearers.say("onError", error));
  }

  /** Send the decisions that may be sent by now. */
  async #decide() {
    if (this.#conversation.decisions.length === 0) return;
    if (this.#sendWhen && !(await this.#sendWhen({ messages: this.getSnapshot().messages }))) return;
    // Whoever was asked meanwhile may have sent some of them.
    const decisions = this.#conversation.decisions;
    if (decisions.length === 0) return;
    this.#conversation.deciding(decisions);
    this.#changed();
    try {
      const post = () => this.#client.postResolutions(this.thread, decisions);
      this.#conversation.decided(decisions, await patiently("interaction_not_found", post));
    } catch (error) {
      const { status } = /** @type {ApiError} */ (error);
      this.#conversation.undecide(decisions);
      if (status >= 400 && status < 500) await this.catchUp();
      throw error;
    } finally {
      this.#changed();
    }
  }

  /** @param {import("./types.js").Connection} connection */
  #connect(connection) {
    this.#connection = connection;
    const { state, error } = connection;
    if (error && (state === "expired" || state === "refused")) this.#hearers.say("onError", error);
    this.#changed();
  }

  #changed() {
    this.#stale = true;
    if (this.#telling !== undefined || this.#listeners.size === 0) return;
    const wait_ms = Math.max(0, this.#told + this.#throttle_ms - performance.now());
    this.#telling = setTimeout(() => {
      this.#telling = undefined;
      this.#told = performance.now();
      for (const listener of [...this.#listeners]) {
        try {
          listener();
        } catch (error) {
          report(error);
        }
      }
      this.#beacon?.told();
    }, wait_ms);
  }

  /** Somebody deleted the thread. */
  #markDeleted() {
    if (this.#deleted) return;
    this.#deleted = true;
    this.#reader.close();
    this.#conversation.clear();
    this.#connect({ state: "deleted" });
  }

  async #line() {
    while (this.#lineAgain) {
      this.#lineAgain = false;
      try {
        const began = this.#conversation.reading();
        const queue = await this.#client.getQueue(this.thread);
        // What is in line no more has begun, or was taken back elsewhere.
        const isMissing = this.#conversation.missingIn(queue).length > 0;
        const begun = isMissing ? (await this.#client.getMessages(this.thread)).messages : [];
        this.#conversation.line(queue, began, begun);
        this.#changed();
      } catch {
        // The stream and the next event of the queue correct what is shown.
      }
    }
  }
}

/**
 * Ask again for a while where it is refused with this code: the last chunk of a run comes a moment before the log has its
 * end, and whoever is quick is there in between.
 * @template T
 * @param {string} code
 * @param {() => Promise<T>} ask
 */
async function patiently(code, ask) {
  for (let wait_ms = 100; ; wait_ms *= 2) {
    try {
      return await ask();
    } catch (error) {
      if (/** @type {ApiError} */ (error).code !== code || wait_ms > PATIENCE_MS) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait_ms));
    }
  }
}

/**
 * What was said behind a message means nothing without it, and would overtake it where it comes yet: it fails as that did.
 * @param {ApiError} error
 */
function refuseBehind(error) {
  const { status, code, message, retryAfter_ms } = error;
  throw new ApiError(status, { code, detail: message }, retryAfter_ms, { cause: error });
}

/**
 * @param {NewMessage} message
 * @returns {UIMessage}
 */
function messageOf(message) {
  const given = /** @type {any} */ (typeof message === "string" ? { text: message } : message);
  const { id = newId("msg"), text, files = [], parts, ...rest } = given;
  if (parts) return { ...rest, id, role: rest.role ?? "user", parts };
  return { id, role: "user", parts: [...(text ? [{ type: "text", text }] : []), ...files], ...rest };
}
