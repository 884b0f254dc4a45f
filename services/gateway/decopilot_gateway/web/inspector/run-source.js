/** Reads a thread's runs and one of them, and reads on for as long as it goes on. */

import { isEnded } from "./telling.js";
import { timed } from "./timeline.js";

const POLL_MS = 1_500;
const TIMEOUT_MS = 20_000;
/** How often pages of frames that are still being read are told of: each time all of it is drawn. */
const TOLD_MS = 700;
/** A run that takes long to draw is drawn less often: of so many parts of the time, one is spent on it. */
const REST = 8;
/** More frames of a run than that are not drawn: what they hold would weigh on the tab. */
export const FRAMES_MAX = 60_000;
const CHUNKS_A_PAGE = 1_000;
/** Behind every chunk of a frame: none has so many. */
const BEHIND_ALL = 999_999_999;

const pathOf = (thread, ...rest) => ["decopilot/threads", thread, "runs", ...rest].map(encoded).join("/");
const encoded = (part, index) => (index ? encodeURIComponent(part) : part);

/** The runs of a thread, the newest first. */
export async function readRuns(client, thread, { before, signal } = {}) {
  return client.request(pathOf(thread), { query: { before }, signal });
}

/** A page of a run's chunks: from a frame on, or behind a cursor. */
export function readChunks(client, thread, run, { frame, behind, signal }) {
  const from = behind ?? (frame > 0 ? `${frame - 1}-${BEHIND_ALL}` : undefined);
  return client.request(pathOf(thread, run, "chunks"), { query: { from, limit: CHUNKS_A_PAGE }, signal });
}

export class RunSource {
  #client;
  #thread;
  #runId;
  #options;
  #closing = new AbortController();
  #frames = [];
  #isReading = false;
  /** The last frame that was read which takes others back; it is read anew for each of them once. */
  #rewind = 0;
  #isAnew = false;
  #told_at = -Infinity;
  #drawing_ms = 0;
  /** How far the server's clock is ahead of this one's. */
  #ahead_ms = 0;

  /**
   * - `onRead(run, {isAnew})`: what is known by now; with `isAnew` frames that were told before may be others
   * - `onError(error)`: it can't be read; it is tried again unless it was refused
   */
  constructor(client, thread, runId, options) {
    this.#client = client;
    this.#thread = thread;
    this.#runId = runId;
    this.#options = options;
  }

  get now() {
    return Date.now() + this.#ahead_ms;
  }

  /** Read until the run has ended, or until this is closed. */
  async open() {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      await this.#follow();
    } finally {
      this.#isReading = false;
    }
  }

  async #follow() {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        const run = await this.#read();
        if (signal.aborted || (isEnded(run) && run.next === null)) return;
        if (run.next !== null) continue;
      } catch (error) {
        if (signal.aborted) return;
        this.#options.onError(error);
        if (error.status >= 400 && error.status < 500 && error.status !== 429) return;
      }
      do await pause(Math.max(POLL_MS, REST * this.#drawing_ms), signal);
      while (document.hidden && !signal.aborted);
    }
  }

  /** Read all of it anew, where it has ended long ago: its chunks may be gone by now. */
  async again() {
    this.#frames = [];
    await this.open();
  }

  close() {
    this.#closing.abort();
  }

  async #read() {
    const after = this.#frames.at(-1)?.sequence;
    const { signal } = this.#closing;
    const run = await this.#request({ after }, signal);
    const rewind = run.frames.findLast(({ kinds }) => Object.hasOwn(kinds, "data-run-rewind"))?.sequence ?? 0;
    const isTakenBack = rewind > this.#rewind;
    this.#rewind = Math.max(rewind, this.#rewind);
    // What was read before is purged, or partly counts no more: then all of it is read anew.
    if (after !== undefined && (isTakenBack || run.chunksGone)) {
      this.#frames = [];
      const anew = await this.#request({}, signal);
      return this.#tell(anew, true);
    }
    return this.#tell(run, after === undefined);
  }

  #tell(run, isAnew) {
    if (this.#frames.length < FRAMES_MAX) for (const frame of run.frames) this.#frames.push(timed(frame));
    run.isCut = this.#frames.length >= FRAMES_MAX;
    if (run.isCut) run.next = null;
    run.frames = this.#frames;
    this.#isAnew ||= isAnew;
    const since_ms = performance.now() - this.#told_at;
    const isDue = run.next === null || since_ms > Math.max(TOLD_MS, REST * this.#drawing_ms);
    if (!this.#closing.signal.aborted && isDue) {
      const begun = performance.now();
      this.#options.onRead(run, { isAnew: this.#isAnew });
      this.#told_at = performance.now();
      this.#drawing_ms = this.#told_at - begun;
      this.#isAnew = false;
    }
    return run;
  }

  async #request(query, signal) {
    const whole = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
    const response = await this.#client.open(pathOf(this.#thread, this.#runId), { query, signal: whole });
    const date = Date.parse(response.headers.get("Date"));
    // It is told in whole seconds: less than two may be nothing.
    if (Number.isFinite(date)) this.#ahead_ms = Math.abs(date - Date.now()) > 2_000 ? date - Date.now() : 0;
    return response.json();
  }
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
