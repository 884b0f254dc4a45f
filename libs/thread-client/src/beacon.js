/**
 * How long chunks take from the broker's disk to the reader's eye, and the reports of that (docs/beacon.md).
 *
 * The server dates some chunks, as many as its operator wants measured; without dates nothing is measured or sent.
 */

import { ServerClock } from "./server-clock.js";

/** @typedef {import("./types.js").Chunk} Chunk */
/** @typedef {import("./types.js").Paint} Paint */
/** @typedef {{stored_at: number, runId: string}} Dated */
/** @typedef {{chunks: number, error_ms: number, paints: Map<number, number>}} Tally */

const REPORT_MS = 10_000;
const CHUNKS_MAX = 1_000;
/** A machine that slept, and no page that is slow. */
const LONGEST_MS = 60_000;
/** With clocks known no better nothing is said. */
const ERROR_MAX_MS = 1_000;
const TOKENS = new Set(["text-delta", "reasoning-delta"]);

/** Ours, in the unit of the server's, and never set. */
const now = () => performance.timeOrigin + performance.now();

export class Beacon {
  #client;
  #thread;
  #isDrawn;
  #onPaint;
  #clock = new ServerClock();
  /** Chunks that were stored before this moment of the server's were not watched as they came. */
  #since = Infinity;
  /** @type {Dated[]} What came since listeners were told. */
  #came = [];
  /** @type {Dated[]} What they were told, and have yet to draw. */
  #told = [];
  /** @type {number | undefined} */
  #frame;
  /** @type {Map<string, Tally>} By the run. */
  #tallies = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #reporting;
  #isListening = false;

  /**
   * - `isDrawn()`: whether all that listeners were told is in the document; asked in the frames behind
   * - `onPaint(paint)`: called for each chunk that was measured
   * @param {{
   *   client: import("./client.js").DecopilotClient,
   *   thread: string,
   *   isDrawn?: () => boolean,
   *   onPaint: (paint: Paint) => void,
   * }} parts
   */
  constructor({ client, thread, isDrawn = () => true, onPaint }) {
    this.#client = client;
    this.#thread = thread;
    this.#isDrawn = isDrawn;
    this.#onPaint = onPaint;
  }

  /** The moment before something is asked, for `attached`. */
  get now() {
    return now();
  }

  /**
   * The stream that was asked for at `asked_at` is there.
   * @param {number} asked_at
   * @param {Response} response
   */
  attached(asked_at, response) {
    const server_at = timeOf(response);
    if (server_at === undefined) return;
    this.#clock.exchanged(asked_at, server_at, now());
    // What it catches up with was painted late because nobody was there.
    this.#since = server_at;
    if (this.#isListening) return;
    this.#isListening = true;
    document.addEventListener("visibilitychange", this.#onVisibility);
    globalThis.addEventListener("pagehide", this.#send);
  }

  /**
   * A chunk has come; `stored_at` where it is dated.
   * @param {number | undefined} stored_at
   * @param {Chunk} chunk
   * @param {string | undefined} runId
   */
  came(stored_at, chunk, runId) {
    if (stored_at === undefined || !this.#isListening) return;
    this.#clock.heard(stored_at, now());
    const isWatched = stored_at >= this.#since && !document.hidden;
    if (isWatched && runId !== undefined && TOKENS.has(chunk.type)) this.#came.push({ stored_at, runId });
  }

  /** Listeners were told of all that came. */
  told() {
    if (this.#came.length === 0) return;
    this.#told.push(...this.#came);
    this.#came = [];
    this.#frame ??= requestAnimationFrame(this.#look);
  }

  /** The stream is left. */
  close() {
    this.#send();
    this.#forget();
    this.#since = Infinity;
    this.#isListening = false;
    document.removeEventListener("visibilitychange", this.#onVisibility);
    globalThis.removeEventListener("pagehide", this.#send);
  }

  // Whoever draws in a frame has asked for it before us, so that it is done by now: what we are told by was drawn.
  #look = () => {
    this.#frame = undefined;
    if (!this.#isDrawn()) {
      this.#frame = requestAnimationFrame(this.#look);
      return;
    }
    const drawn = this.#told;
    this.#told = [];
    // A frame is painted behind its callbacks; the next task comes behind that.
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      this.#painted(drawn, now());
    };
    port2.postMessage(undefined);
  };

  /**
   * @param {Dated[]} drawn
   * @param {number} painted_at
   */
  #painted(drawn, painted_at) {
    const { ahead_ms, error_ms } = this.#clock;
    if (document.hidden || !(error_ms <= ERROR_MAX_MS)) return;
    for (const { stored_at, runId } of drawn) {
      const duration_ms = Math.max(0, painted_at + ahead_ms - stored_at);
      if (duration_ms <= LONGEST_MS) this.#count({ runId, duration_ms, error_ms });
    }
  }

  /** @param {Paint} paint */
  #count(paint) {
    const { runId, duration_ms, error_ms } = paint;
    const tally = this.#tallies.get(runId) ?? { chunks: 0, error_ms: 0, paints: new Map() };
    this.#tallies.set(runId, tally);
    const about_ms = rounded(duration_ms);
    tally.paints.set(about_ms, (tally.paints.get(about_ms) ?? 0) + 1);
    tally.error_ms = Math.max(tally.error_ms, error_ms);
    tally.chunks += 1;
    this.#reporting ??= setTimeout(this.#send, REPORT_MS);
    if (tally.chunks >= CHUNKS_MAX) this.#send();
    this.#onPaint(paint);
  }

  #send = () => {
    clearTimeout(this.#reporting);
    this.#reporting = undefined;
    const tallies = [...this.#tallies];
    this.#tallies.clear();
    for (const [runId, { error_ms, paints }] of tallies) {
      const told = [...paints].map(([ms, chunks]) => ({ ms, chunks }));
      this.#report({ threadId: this.#thread, runId, errorMs: Math.ceil(error_ms), paints: told });
    }
  };

  /** @param {import("./types.js").PaintReport} report */
  async #report(report) {
    try {
      const asked_at = now();
      const server_at = timeOf(await this.#client.reportPaints(report));
      if (server_at !== undefined) this.#clock.exchanged(asked_at, server_at, now());
    } catch {
      // Figures that are lost are no trouble of the reader's.
    }
  }

  #onVisibility = () => {
    if (document.hidden) this.#send();
    else this.#since = Math.max(this.#since, now() + this.#clock.ahead_ms + this.#clock.error_ms);
    // No frame comes to who is hidden, and then one that says nothing.
    this.#forget();
  };

  #forget() {
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
    this.#frame = undefined;
    this.#came = [];
    this.#told = [];
  }
}

/** Whether there is anything here that paints. */
export const canPaint = () => typeof document !== "undefined" && typeof requestAnimationFrame === "function";

/**
 * The server's clock as it answered, if it measures paints.
 * @param {Response} response
 */
function timeOf({ headers }) {
  const told = headers.get("Decopilot-Time");
  return told === null || !Number.isFinite(Number(told)) ? undefined : Number(told);
}

/**
 * To the millisecond, and from 100 ms on to two digits: of so few values a report stays small.
 * @param {number} ms
 */
const rounded = (ms) => (ms < 100 ? Math.round(ms) : Number(ms.toPrecision(2)));
