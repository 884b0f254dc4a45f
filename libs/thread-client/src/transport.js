/** `useChat` of the AI SDK over durable runs: a `ChatTransport` for `ai` 5, 6 and 7 (docs/browser.md). */

import { ApiError } from "./errors.js";
import { isMessage } from "./fold.js";
import { newId } from "./ids.js";
import { retold, RetellError, Turn } from "./turn.js";

const PATIENCE_MS = 60_000;
const BASE_MS = 250;
const MAX_MS = 5_000;
const SETTLE_MS = 5_000;
const TRANSIENT = new Set([0, 408, 425, 429, 502, 503, 504]);
/** How a thread refuses whose run has yet to end. */
const EARLY = new Set(["run_active", "interaction_not_found"]);
/** Parts of an answer that a person may have decided. */
const ANSWERED = new Set(["approval-responded", "output-available", "output-error"]);

/** @typedef {import("./types.js").History} History */
/** @typedef {import("./types.js").Receipt} Receipt */
/** @typedef {import("./types.js").SdkLine} SdkLine */
/** @typedef {import("./types.js").UIMessage} UIMessage */
/**
 * What goes on of a chat; `run` resolves to the run's id.
 * @typedef {{run?: Promise<string | undefined>, turn?: Turn}} Active
 */
/**
 * Chunks of the run: every version of `ai` has a type of its own for them, and takes this for it.
 * @typedef {ReadableStream<any>} Chunks
 */
/**
 * @typedef {object} RequestOptions
 * @property {Record<string, string> | Headers} [headers]
 * @property {object} [body] how to answer: `agent`, `tier`, `mode`, `toolApprovalLevel`, … (docs/protocol.md 4)
 * @property {unknown} [metadata] not sent
 *
 * @typedef {object} Sending
 * @property {"submit-message" | "regenerate-message"} trigger
 * @property {string} chatId the thread
 * @property {string | undefined} messageId
 * @property {UIMessage[]} messages
 * @property {AbortSignal | undefined} [abortSignal]
 *
 * @typedef {object} Reconnecting
 * @property {string} chatId
 * @property {AbortSignal} [abortSignal]
 */

export class DecopilotChatTransport {
  /**
   * What `reconnectToStream` gives begins with the answer's `start`, not where the reader was.
   * @type {boolean}
   */
  resumeStreamIsReplay = true;
  #client;
  #sdk;
  #body;
  #cancelOnAbort;
  #patience_ms;
  #onRewind;
  /** @type {Map<string, Active>} */
  #active = new Map();
  /**
   * Messages that may have been taken or not, by their ids.
   * @type {Set<string>}
   */
  #unsettled = new Set();
  /**
   * The run that each chat read last.
   * @type {Map<string, string>}
   */
  #seen = new Map();
  /**
   * The ids of answers that broke off, by chat.
   * @type {Map<string, string | undefined>}
   */
  #broken = new Map();
  /**
   * Histories that were read to begin with, by chat.
   * @type {Map<string, History>}
   */
  #loaded = new Map();

  /**
   * @param {object} options
   * @param {import("./client.js").DecopilotClient} options.client
   * @param {SdkLine} [options.sdk] the line of `ai` that reads: 5 knows no approvals, 7 can take back a step
   * @param {object | (() => object)} [options.body] what to send with each request, ahead of its own `body`
   * @param {boolean} [options.cancelOnAbort] whether `stop()` cancels the run. `useChat` of `ai` 7 aborts, too, when it
   *   unmounts, and a run is to outlive that: so by default only `cancel` does.
   * @param {number} [options.patience_ms] how long to try to send what meets no answer, or one that may be another soon
   * @param {(chatId: string) => void} [options.onRewind] called where an answer has to be told anew: call the chat's
   *   `resumeStream`. Without it the turn ends with an error then.
   */
  constructor({ client, sdk = 6, body = {}, cancelOnAbort = false, patience_ms = PATIENCE_MS, onRewind }) {
    this.#client = client;
    this.#sdk = sdk;
    this.#body = body;
    this.#cancelOnAbort = cancelOnAbort;
    this.#patience_ms = patience_ms;
    this.#onRewind = onRewind;
  }

  /**
   * Send the last message, or the answers in it, and read the run that it leads to.
   * @param {Sending & RequestOptions} options
   * @returns {Promise<Chunks>}
   */
  sendMessages = async (options) => {
    const { chatId, messages, abortSignal } = options;
    const last = lastOf(messages);
    const posting = this.#post(options);
    /** @type {Active} */
    const active = { run: posting.then(({ runId }) => runId, () => undefined) };
    this.#active.set(chatId, active);
    abortSignal?.addEventListener("abort", () => this.#stop(chatId, active, abortSignal), { once: true });
    let receipt;
    try {
      receipt = await unlessAborted(posting, abortSignal);
      if (receipt.status === "withdrawn") throw new Error("The message was taken back before its run began.");
      if (receipt.status === "requires_action" && (await this.#isPartial(chatId, last))) {
        this.#forget(chatId, active);
        return nothing();
      }
    } catch (error) {
      this.#forget(chatId, active);
      throw error;
    }
    this.#loaded.delete(chatId);
    const { cursor, runId, messageId } = receipt;
    const of = last.role === "assistant" ? { seed: last } : { questionId: messageId };
    return this.#follow(chatId, active, abortSignal, { cursor, runId, ...of });
  };

  /**
   * Read what goes on in a chat, from the `start` of its answer; null if nothing does.
   * @param {Reconnecting & RequestOptions} options
   * @returns {Promise<Chunks | null>}
   */
  reconnectToStream = async ({ chatId, abortSignal }) => {
    const loaded = this.#loaded.get(chatId);
    this.#loaded.delete(chatId);
    const history = loaded?.status === "in_progress" ? loaded : await this.#history(chatId, abortSignal);
    if (history.status !== "in_progress") return this.#toldAgain(chatId, history);
    const questionId = history.messages.findLast(({ role }) => role === "user")?.id;
    /** @type {Active} */
    const active = {};
    this.#active.set(chatId, active);
    abortSignal?.addEventListener("abort", () => this.#stop(chatId, active, abortSignal), { once: true });
    // Behind the cursor of a history whose thread is busy comes the run that it is busy with.
    return this.#follow(chatId, active, abortSignal, { cursor: history.cursor, replay: "message", questionId });
  };

  /**
   * Read a chat's messages, to begin `useChat` with. The first `reconnectToStream` goes on from exactly there, so that
   * a run which ends in between is not missed.
   * @param {string} chatId
   * @returns {Promise<UIMessage[]>}
   */
  async load(chatId) {
    const history = await this.#history(chatId);
    this.#loaded.set(chatId, history);
    return structuredClone(history.messages);
  }

  /**
   * Have the chat's run end. Its end comes through the stream like any other, so that the chat holds what history does.
   * @param {string} chatId
   * @returns {Promise<string>} what came of it (docs/protocol.md 16)
   */
  async cancel(chatId) {
    const active = this.#active.get(chatId);
    const runId = await active?.run;
    const cancelling = () => this.#client.cancelRun(chatId, runId);
    // Without the id of the run it must not be said twice: another one could be active by then.
    const { status } = await (runId === undefined ? cancelling() : this.#patiently(cancelling));
    if (status === "withdrawn") active?.turn?.fail(aborted());
    return status;
  }

  /** Read no further, in any chat; the runs go on. */
  close = () => {
    for (const { turn } of this.#active.values()) turn?.fail(aborted());
  };

  /**
   * @param {string} chatId
   * @param {Active} active
   * @param {AbortSignal | undefined} abortSignal
   * @param {{cursor?: string | null, runId?: string, replay?: string, questionId?: string, seed?: UIMessage}} from
   * @returns {Chunks}
   */
  #follow(chatId, active, abortSignal, from) {
    const onEnd = (/** @type {unknown} */ error) => {
      this.#forget(chatId, active);
      if (from.runId !== undefined) this.#seen.set(chatId, from.runId);
      if (error instanceof RetellError) return this.#breakOff(chatId, error);
      return error;
    };
    const turn = new Turn(this.#client, { thread: chatId, sdk: this.#sdk, ...from, onEnd });
    active.turn = turn;
    active.run = turn.run;
    this.#broken.delete(chatId);
    void turn.run.then((runId) => (from.runId ??= runId));
    if (abortSignal?.aborted) turn.fail(abortSignal.reason);
    return turn.stream;
  }

  /**
   * What the reader is told of an answer that it must drop, so that it asks for all of it.
   * @param {string} chatId
   * @param {RetellError} error
   */
  #breakOff(chatId, { messageId }) {
    this.#broken.set(chatId, messageId);
    const onRewind = this.#onRewind;
    if (onRewind) {
      // When the reader has ended its turn.
      setTimeout(() => onRewind(chatId), 0);
      return aborted();
    }
    const message = "The network connection to the answer broke off: resume it to see it whole.";
    // After a disconnect `useChat` of `ai` 5 and 6 goes on with what it holds, instead of beginning with the replay.
    return this.#sdk === 7 ? new TypeError(message) : new Error(message);
  }

  /**
   * An answer that broke off, and has ended since.
   * @param {string} chatId
   * @param {History} history
   */
  #toldAgain(chatId, { messages }) {
    const message = messages.find(({ id }) => id === this.#broken.get(chatId));
    this.#broken.delete(chatId);
    return message ? retold(message, this.#sdk) : null;
  }

  /**
   * Whether there is more to decide in an answer before its run goes on.
   * @param {string} chatId
   * @param {UIMessage} answer
   */
  async #isPartial(chatId, answer) {
    if (answer.role !== "assistant") return false;
    const { pending = [] } = await this.#patiently(() => this.#client.getThread(chatId));
    return pending.every(({ toolCallId }) => answer.parts.some((part) => part.toolCallId === toolCallId));
  }

  /**
   * @param {string} chatId
   * @param {Active} active
   * @param {AbortSignal} signal
   */
  #stop(chatId, active, signal) {
    if (this.#cancelOnAbort) {
      const cancelling = async () => {
        const runId = await active.run;
        if (runId !== undefined) await this.#patiently(() => this.#client.cancelRun(chatId, runId));
      };
      // There is nobody to tell: the run goes on, and the chat shows it when it is resumed.
      cancelling().catch(() => {});
    }
    active.turn?.fail(signal.reason);
  }

  /**
   * @param {string} chatId
   * @param {Active} active
   */
  #forget(chatId, active) {
    if (this.#active.get(chatId) === active) this.#active.delete(chatId);
  }

  /**
   * @param {Sending & RequestOptions} options
   * @returns {Promise<Receipt>}
   */
  async #post({ trigger, chatId, messageId, messages, headers, body, abortSignal }) {
    const last = lastOf(messages);
    const thread = `decopilot/threads/${encodeURIComponent(chatId)}`;
    const how = { ...(typeof this.#body === "function" ? this.#body() : this.#body), ...body };
    const send = (/** @type {string} */ path, /** @type {object} */ content) => {
      const sent = { method: "POST", headers: jsonHeaders(headers), body: JSON.stringify({ ...how, ...content }) };
      // What a stop is to cancel has to be known, so the answer is waited for all the same.
      const signal = this.#cancelOnAbort ? undefined : abortSignal;
      return this.#settled(chatId, () => this.#client.request(`${thread}/${path}`, sent), signal);
    };
    const submit = () => this.#whileUnsettled(last.id, () => send("messages", { messages: [decided(last)] }));
    if (trigger !== "regenerate-message" || this.#unsettled.has(last.id)) return submit();
    const wanted = messageId ?? last.id;
    try {
      return await send("regenerate", { messageId: wanted, requestId: newId("req") });
    } catch (error) {
      // What was never taken can't be answered anew, but sent.
      if (statusOf(error) === 404 && last.role === "user" && wanted === last.id) return submit();
      throw error;
    }
  }

  /**
   * Remember a message while nobody knows whether it was taken: to send it again is to ask for the same run.
   * @template Answer
   * @param {string} id
   * @param {() => Promise<Answer>} send
   */
  async #whileUnsettled(id, send) {
    this.#unsettled.add(id);
    try {
      const receipt = await send();
      this.#unsettled.delete(id);
      return receipt;
    } catch (error) {
      if (!isTransient(error instanceof TypeError ? error.cause : error)) this.#unsettled.delete(id);
      throw error;
    }
  }

  /**
   * Call again what is refused only because the run that the chat has read has yet to end.
   * @template Answer
   * @param {string} chatId
   * @param {() => Promise<Answer>} call
   * @param {AbortSignal} [signal]
   */
  async #settled(chatId, call, signal) {
    const deadline = performance.now() + SETTLE_MS;
    let isLast = !this.#seen.has(chatId);
    for (let tries = 0; ; tries += 1) {
      try {
        return await this.#patiently(call, signal);
      } catch (error) {
        if (isLast || !isEarly(error)) throw error;
        // It may have ended since: then once more.
        isLast = performance.now() > deadline || !(await this.#isEnding(chatId));
        await pause(tries);
      }
    }
  }

  /** @param {string} chatId */
  async #isEnding(chatId) {
    const { activeRun } = await this.#client.getThread(chatId);
    return activeRun?.runId !== undefined && activeRun.runId === this.#seen.get(chatId);
  }

  /**
   * Call until there is an answer that stays.
   * @template Answer
   * @param {() => Promise<Answer>} call
   * @param {AbortSignal} [signal]
   */
  async #patiently(call, signal) {
    const deadline = performance.now() + this.#patience_ms;
    for (let tries = 0; ; tries += 1) {
      try {
        return await call();
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        if (!isTransient(error) || performance.now() + error.retryAfter_ms > deadline) throw readable(error);
        await pause(tries, error.retryAfter_ms);
      }
    }
  }

  /**
   * A thread's history; an empty one of a thread that nobody has written to.
   * @param {string} chatId
   * @param {AbortSignal} [signal]
   * @returns {Promise<History>}
   */
  async #history(chatId, signal) {
    try {
      const history = await this.#patiently(() => this.#client.getMessages(chatId, signal), signal);
      return { ...history, messages: history.messages.filter(isMessage) };
    } catch (error) {
      if (statusOf(error) !== 404) throw error;
      return { messages: [] };
    }
  }
}

/** @param {UIMessage[]} messages */
function lastOf(messages) {
  const last = messages.at(-1);
  if (!last) throw new Error("There is no message to send.");
  return last;
}

/**
 * Of an answer only what a person may have decided: the server takes nothing else of it.
 * @param {UIMessage} message
 */
function decided(message) {
  if (message.role !== "assistant") return message;
  const step = message.parts.findLastIndex(({ type }) => type === "step-start");
  const parts = message.parts.slice(step + 1).filter(({ state, preliminary }) => ANSWERED.has(state) && !preliminary);
  return { ...message, parts };
}

const statusOf = (/** @type {unknown} */ error) => (error instanceof ApiError ? error.status : undefined);

/**
 * @param {unknown} error
 * @returns {error is ApiError}
 */
const isTransient = (error) => error instanceof ApiError && TRANSIENT.has(error.status);

const isEarly = (/** @type {unknown} */ error) => error instanceof ApiError && EARLY.has(error.code ?? "");

/**
 * `useChat` takes a TypeError that speaks of the network for a lost connection.
 * @param {unknown} error
 */
function readable(error) {
  const isUnreached = error instanceof ApiError && error.status === 0;
  return isUnreached ? Object.assign(new TypeError(`network: ${error.message}`), { cause: error }) : error;
}

const aborted = () => new DOMException("The answer is not read any further.", "AbortError");

/**
 * @template Answer
 * @param {Promise<Answer>} promise
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<Answer>}
 */
async function unlessAborted(promise, signal) {
  if (!signal) return promise;
  promise.catch(() => {});
  const aborting = /** @type {Promise<never>} */ (new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  }));
  return Promise.race([promise, aborting]);
}

/** @param {RequestOptions["headers"]} given */
function jsonHeaders(given) {
  const headers = new Headers(given);
  headers.set("Content-Type", "application/json");
  return headers;
}

/** @returns {Chunks} */
const nothing = () => new ReadableStream({ start: (controller) => controller.close() });

/** @param {number} tries */
function pause(tries, retryAfter_ms = 0) {
  const backoff_ms = Math.min(MAX_MS, BASE_MS * 2 ** tries) * (0.5 + Math.random() / 2);
  return new Promise((resolve) => setTimeout(resolve, Math.max(backoff_ms, retryAfter_ms)));
}
