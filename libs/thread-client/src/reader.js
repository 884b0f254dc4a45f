/** Reads a thread into a conversation: its history, then its stream, and the history again wherever that has a hole. */

import { isAfter } from "./cursor.js";
import { ApiError, ChunkError } from "./errors.js";
import { sleep } from "./sleep.js";
import { Stream } from "./stream.js";

/** @typedef {import("./types.js").Chunk} Chunk */

const SETTLE_MS = 1_000;
const SETTLE_TRIES = 30;

export class ThreadReader {
  #client;
  #thread;
  #conversation;
  #told;
  #stream;
  #loaded;
  /** @type {string | undefined} */
  #attachedAt;
  #beacon;

  /**
   * `told`: what to call when something came of it; `onChunk` with the cursor, the chunk and the id of its answer.
   * @param {{
   *   client: import("./client.js").DecopilotClient,
   *   thread: string,
   *   conversation: import("./conversation.js").Conversation,
   *   loaded: boolean,
   *   beacon?: import("./beacon.js").Beacon | undefined,
   *   told: {
   *     onState: (state: import("./types.js").ConnectionState, error?: Error, retryAt?: number) => void,
   *     onLoaded: () => void,
   *     onChunk: (cursor: string | undefined, chunk: Chunk, messageId: string | undefined, isEnd: boolean) => void,
   *     onAnew: () => void,
   *     onDeleted: () => void,
   *   },
   * }} parts
   */
  constructor({ client, thread, conversation, loaded, beacon, told }) {
    this.#client = client;
    this.#thread = thread;
    this.#conversation = conversation;
    this.#loaded = loaded;
    this.#beacon = beacon;
    this.#told = told;
    this.#stream = new Stream({
      prepare: (signal) => this.#load(signal),
      connect: async (signal) => {
        this.#attachedAt = conversation.cursor;
        const asked_at = beacon?.now ?? 0;
        const response = await client.attach(thread, { cursor: this.#attachedAt, rewind: "true" }, signal);
        beacon?.attached(asked_at, response);
        return response;
      },
      onEvent: (event, signal) => this.#take(event, signal),
      onState: told.onState,
      recover: (error) => this.#recover(/** @type {ApiError} */ (error)),
    });
  }

  /** Whether the history was read. */
  get loaded() {
    return this.#loaded;
  }

  open() {
    this.#stream.open();
  }

  close() {
    this.#stream.close();
  }

  wake() {
    this.#stream.wake();
  }

  renew() {
    this.#stream.renew();
  }

  /** @param {ApiError} error */
  #recover({ code }) {
    if (code === "thread_not_found") this.#told.onDeleted();
    if (code !== "invalid_cursor") return false;
    this.#loaded = false;
    return true;
  }

  /**
   * @param {import("./sse.js").ServerSentEvent} event
   * @param {AbortSignal} signal
   */
  async #take({ id, data, stored_at }, signal) {
    const chunk = parse(data);
    // For who attached by such a token, which is whoever made the connection: no part of the thread.
    if (chunk.type === "data-attach-token") return false;
    const answering = this.#conversation.growing?.id;
    const effect = this.#conversation.accept(id, chunk);
    this.#beacon?.came(stored_at, chunk, this.#conversation.runId);
    if (effect === "deleted") this.#told.onDeleted();
    if (effect === "anew") this.#told.onAnew();
    if (effect === "reset" || effect === "anew") {
      await this.#reload(signal);
      // Attaching at the history's cursor leaves no gap; where it was done and led here, the log itself has one.
      return this.#conversation.cursor !== this.#attachedAt;
    }
    if (effect === "lost") {
      await this.#settle(signal, id);
      const message = this.#conversation.messages.findLast(({ role }) => role === "assistant");
      this.#told.onChunk(id, chunk, message?.id, true);
    } else {
      this.#told.onChunk(id, chunk, this.#conversation.growing?.id ?? answering, effect === "end");
    }
    return false;
  }

  /** @param {AbortSignal} signal */
  async #load(signal) {
    if (this.#loaded) return;
    const began = this.#conversation.reading();
    try {
      const [first, queue] = await Promise.all([
        this.#client.getMessages(this.#thread, signal),
        this.#client.getQueue(this.#thread, signal),
      ]);
      // Begun between the two, a message is in neither.
      const isThere = (/** @type {string} */ messageId) => first.messages.some(({ id }) => id === messageId);
      const isLost = this.#conversation.missingIn(queue).some(({ messageId }) => !isThere(messageId));
      const history = isLost ? await this.#client.getMessages(this.#thread, signal) : first;
      // Asked second: an active run older than the messages could be waited for when it is over.
      const { status, activeRun } = await this.#present(history, signal);
      if (signal.aborted) return;
      this.#conversation.load({ ...history, status, activeRun, queue }, began);
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "thread_not_found") throw error;
      this.#conversation.clear();
    }
    this.#loaded = true;
    this.#told.onLoaded();
  }

  /**
   * The status that the history has; of a run that goes on also its id, so that it can be stopped before it begins.
   * @param {import("./types.js").History} history
   * @param {AbortSignal} signal
   */
  async #present(history, signal) {
    if (history.status !== "in_progress" && history.status !== undefined) return history;
    const { status, activeRun } = await this.#client.getThread(this.#thread, signal);
    return { status: history.status ?? status, activeRun };
  }

  /** @param {AbortSignal} signal */
  #reload(signal) {
    this.#loaded = false;
    return this.#load(signal);
  }

  /**
   * The end of a run whose beginning was lost in a reset: its answer is in the history as soon as that is written.
   * @param {AbortSignal} signal
   * @param {string | undefined} end
   */
  async #settle(signal, end) {
    for (let tries = 0; tries < SETTLE_TRIES && !signal.aborted; tries += 1) {
      await this.#reload(signal);
      if (this.#conversation.status !== "in_progress" || !isAfter(end, this.#conversation.cursor)) return;
      await sleep(SETTLE_MS, signal);
    }
  }
}

/**
 * @param {string} data
 * @returns {Chunk}
 */
function parse(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch (cause) {
    throw new ChunkError("The stream said something that is not JSON.", { cause });
  }
  if (typeof chunk?.type !== "string") throw new ChunkError("The stream said something that is not a chunk.");
  return chunk;
}
