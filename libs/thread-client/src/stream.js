/**
 * A stream of server-sent events that stays: it reconnects until it is closed.
 *
 * `EventSource` gives up for good on any status but 200 and hides `Retry-After`, so this is `fetch`.
 * Reading waits for each event's handler, so that an event may stop the stream while it reloads.
 */

import { ApiError, ChunkError } from "./errors.js";
import { sleep } from "./sleep.js";
import { EventParser } from "./sse.js";

/** @typedef {import("./types.js").ConnectionState} ConnectionState */

const SILENCE_MS = 45_000; // three keepalives missed: the connection is dead, whatever TCP believes
const QUIET_MS = 20_000; // one missed: who looks again need not wait for the others
const TICK_MS = 5_000;
const GRACE_MS = 2_000; // what came for a page that was frozen is yet to be read
const HEALTHY_MS = 5_000;
const BASE_MS = 1_000;
const LEAST_MS = 250;
const MAX_MS = 30_000;
const MAX_RETRY_AFTER_MS = 300_000;
const TRANSIENT = new Set([0, 408, 425, 429, 502, 503, 504]);

/** Whether asking again by itself would help nobody. */
const isFinal = (/** @type {unknown} */ error) =>
  error instanceof ChunkError || (error instanceof ApiError && !TRANSIENT.has(error.status));

export class Stream {
  #options;
  /** @type {AbortController | undefined} */
  #closing;
  /** @type {Life | undefined} */
  #life;
  #skip = () => {};

  /**
   * - `prepare(signal)`: awaited before each connection
   * - `connect(signal)`: gives the response to read, asked for with the cursor of that moment; throws an ApiError
   * - `onEvent({id, event, data}, signal)`: awaited; true to connect again. Throws an ApiError to connect again later;
   *   anything else that it throws is a ChunkError, and final
   * - `onState(state, error, retryAt)`: `retryAt` is when the next try is due (ms since the epoch), if one is waited for;
   *   after a final error (`refused`, `expired`) only `wake` tries again
   * - `recover(error)`: true if a final refusal was cured and is worth another try
   * @param {{
   *   prepare?: (signal: AbortSignal) => Promise<void> | void,
   *   connect: (signal: AbortSignal) => Promise<Response>,
   *   onEvent: (event: import("./sse.js").ServerSentEvent, signal: AbortSignal) => Promise<unknown> | unknown,
   *   onState?: (state: ConnectionState, error?: Error, retryAt?: number) => void,
   *   recover?: (error: Error) => boolean,
   * }} options
   */
  constructor(options) {
    this.#options = { prepare: () => {}, onState: () => {}, recover: () => false, ...options };
  }

  open() {
    if (this.#closing) return;
    this.#closing = new AbortController();
    this.#options.onState("connecting");
    this.#stay(this.#closing.signal);
  }

  close() {
    this.#closing?.abort();
    this.#closing = undefined;
  }

  /** Somebody is there again: end a pause, and see whether a connection that has been quiet is still alive. */
  wake() {
    this.#skip();
    this.#life?.suspect(QUIET_MS);
  }

  /** The network is another one: what was connected over the old one is left. */
  renew() {
    this.#skip();
    this.#life?.end();
  }

  async #stay(/** @type {AbortSignal} */ closed) {
    const { onState, recover } = this.#options;
    for (let failures = 0; !closed.aborted; ) {
      const life = new Life(closed);
      const { error, retry_ms = BASE_MS } = await this.#connect(life, closed);
      life.end();
      if (closed.aborted) return;
      if (error && isFinal(error) && !recover(error)) {
        if (closed.aborted) return;
        onState(/** @type {ApiError} */ (error).status === 401 ? "expired" : "refused", error);
        await this.#pause(Infinity, closed);
        failures = 0;
        continue;
      }
      failures = life.length_ms > HEALTHY_MS ? 0 : failures + 1;
      const pause_ms = pause(failures, retry_ms, /** @type {ApiError} */ (error)?.retryAfter_ms);
      onState(globalThis.navigator?.onLine === false ? "offline" : "reconnecting", error, Date.now() + pause_ms);
      await this.#pause(pause_ms, closed);
    }
  }

  /**
   * Read one connection to its end.
   * @param {Life} life
   * @param {AbortSignal} closed
   * @returns {Promise<{error?: Error, retry_ms?: number}>}
   */
  async #connect(life, closed) {
    const { prepare, connect, onState } = this.#options;
    const parser = new EventParser();
    try {
      await prepare(closed);
      this.#life = life;
      life.begin();
      const response = await connect(life.signal);
      if (!response.body || !response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
        throw new ApiError(0, { detail: "The answer is not an event stream." });
      }
      if (life.signal.aborted) return {};
      life.confirm();
      onState("live");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return { retry_ms: parser.retry_ms };
        life.hear();
        for (const event of parser.push(value)) {
          if (event.data === "[DONE]") return { retry_ms: parser.retry_ms };
          if ((await this.#hand(event, closed)) || closed.aborted) return { retry_ms: 0 };
        }
        life.hear();
      }
    } catch (error) {
      return { error: /** @type {Error} */ (error), retry_ms: parser.retry_ms };
    }
  }

  /**
   * @param {import("./sse.js").ServerSentEvent} event
   * @param {AbortSignal} closed
   */
  async #hand(event, closed) {
    try {
      return await this.#options.onEvent(event, closed);
    } catch (cause) {
      if (cause instanceof ApiError || cause instanceof ChunkError) throw cause;
      throw new ChunkError("The stream said something that can't be read.", { cause });
    }
  }

  /**
   * @param {number} ms
   * @param {AbortSignal} closed
   */
  async #pause(ms, closed) {
    const skipping = new AbortController();
    const skip = () => skipping.abort();
    this.#skip = skip;
    await sleep(ms, AbortSignal.any([closed, skipping.signal]));
    if (this.#skip === skip) this.#skip = () => {};
  }
}

/** One connection, watched by the wall clock: in a page that is frozen, or a laptop that sleeps, timers stand still. */
class Life {
  #over = new AbortController();
  #heard = Date.now();
  #ticked = Date.now();
  #began = Infinity;
  /** How long it was connected. */
  length_ms = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #doubting;

  /** @param {AbortSignal} closed */
  constructor(closed) {
    this.signal = AbortSignal.any([closed, this.#over.signal]);
  }

  begin() {
    this.hear();
    this.#ticked = Date.now();
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
  }

  confirm() {
    this.#began = Date.now();
    this.hear();
  }

  hear() {
    this.#heard = Date.now();
  }

  end() {
    clearInterval(this.#ticking);
    clearTimeout(this.#doubting);
    this.length_ms ||= Math.max(0, Date.now() - this.#began);
    this.#over.abort();
  }

  /** End it unless it says something soon, if it has been quiet for so long. */
  suspect(/** @type {number} */ quiet_ms) {
    const heard = this.#heard;
    if (Date.now() - heard < quiet_ms) return;
    clearTimeout(this.#doubting);
    this.#doubting = setTimeout(() => this.#heard === heard && this.end(), GRACE_MS);
  }

  #tick() {
    const wasFrozen = Date.now() - this.#ticked > 2 * TICK_MS;
    this.#ticked = Date.now();
    if (wasFrozen) this.suspect(QUIET_MS);
    else if (Date.now() - this.#heard > SILENCE_MS) this.end();
  }
}

/**
 * Half of it is chance, so that the browsers of a gateway that fell do not come back as one.
 * @param {number} failures
 * @param {number} retry_ms
 */
function pause(failures, retry_ms, retryAfter_ms = 0) {
  const backoff_ms = Math.min(MAX_MS, Math.max(retry_ms, LEAST_MS) * 2 ** Math.max(0, failures - 1));
  const jittered_ms = backoff_ms * (0.5 + Math.random() / 2);
  return Math.max(jittered_ms, Math.min(retryAfter_ms, MAX_RETRY_AFTER_MS));
}
