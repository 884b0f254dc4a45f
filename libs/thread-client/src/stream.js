/**
 * A stream of server-sent events that stays: it reconnects until it is closed.
 *
 * `EventSource` gives up for good on any status but 200 and hides `Retry-After`, so this is `fetch`.
 * Reading waits for each event's handler, so that an event may stop the stream while it reloads.
 */

import { ApiError } from "./errors.js";
import { EventParser } from "./sse.js";

const SILENCE_MS = 45_000; // three keepalives missed: the connection is dead, whatever TCP believes
const HEALTHY_MS = 5_000;
const BASE_MS = 1_000;
const MAX_MS = 30_000;
const MAX_RETRY_AFTER_MS = 300_000;

/** Only time and these help where a request is refused as such. */
const isFinal = (error) => error.status >= 400 && error.status < 500 && ![408, 425, 429].includes(error.status);

export class Stream {
  #options;
  #closing;
  #wake = () => {};

  /**
   * - `prepare(signal)`: awaited before each connection
   * - `connect(signal)`: gives the response to read, asked for with the cursor of that moment; throws an ApiError
   * - `onEvent({id, event, data}, signal)`: awaited; true to connect again
   * - `onState("connecting" | "live" | "reconnecting" | "offline" | "expired" | "refused", error)`
   * - `recover(error)`: true if a final refusal was cured and is worth another try
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
    this.#wake();
  }

  /** Try again now, if it is waiting. */
  wake() {
    this.#wake();
  }

  async #stay(closed) {
    const { onState, recover } = this.#options;
    for (let failures = 0; !closed.aborted; ) {
      const began = performance.now();
      let error;
      let retry_ms = BASE_MS;
      try {
        retry_ms = await this.#connect(closed);
      } catch (caught) {
        error = caught;
      }
      if (closed.aborted) return;
      if (isFinal(error ?? {}) && !recover(error)) {
        onState(error.status === 401 ? "expired" : "refused", error);
        await this.#sleep(Infinity);
        continue;
      }
      failures = performance.now() - began > HEALTHY_MS ? 0 : failures + 1;
      onState(globalThis.navigator?.onLine === false ? "offline" : "reconnecting", error);
      await this.#sleep(pause(failures, retry_ms, error?.retryAfter_ms));
    }
  }

  /** Read one connection to its end; returns the pause that the server wishes before the next. */
  async #connect(closed) {
    const { prepare, connect, onEvent, onState } = this.#options;
    await prepare(closed);
    const dead = new AbortController();
    const signal = AbortSignal.any([closed, dead.signal]);
    const watched = async (promise) => {
      const timer = setTimeout(() => dead.abort(), SILENCE_MS);
      return promise.finally(() => clearTimeout(timer));
    };
    const response = await watched(connect(signal));
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      dead.abort();
      throw new ApiError(0, { detail: "The answer is not an event stream." });
    }
    onState("live");
    const parser = new EventParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    try {
      for (;;) {
        const { value, done } = await watched(reader.read());
        if (done) return parser.retry_ms ?? BASE_MS;
        for (const event of parser.push(value)) {
          if (event.data === "[DONE]") return parser.retry_ms ?? BASE_MS;
          if ((await onEvent(event, closed)) || closed.aborted) return 0;
        }
      }
    } finally {
      dead.abort();
    }
  }

  #sleep(ms) {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (ms !== Infinity) setTimeout(resolve, ms);
    }).finally(() => (this.#wake = () => {}));
  }
}

/** Half of it is chance, so that the browsers of a gateway that fell do not come back as one. */
function pause(failures, retry_ms, retryAfter_ms = 0) {
  const backoff_ms = Math.min(MAX_MS, Math.max(retry_ms, 250) * 2 ** Math.max(0, failures - 1));
  const jittered_ms = backoff_ms * (0.5 + Math.random() / 2);
  return Math.max(jittered_ms, Math.min(retryAfter_ms, MAX_RETRY_AFTER_MS));
}
