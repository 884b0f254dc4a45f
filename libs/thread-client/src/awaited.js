/** The runs that were accepted and of which nothing was told yet, and those of which something was. */

import { isAfter } from "./cursor.js";

/** How a run stands that nothing more will be told of. */
const ENDED = new Set(["completed", "failed", "requires_action", "withdrawn"]);
const UNNAMED = Symbol("a run whose id is not known");

/** @param {string} status */
export const hasEnded = (status) => ENDED.has(status);

/** @typedef {{runId?: string | null, status: string, cursor?: string}} Receipt */

export class AwaitedRuns {
  /** @type {Set<string>} */
  #seen = new Set();
  /**
   * By id: the reading that had begun last when it was accepted, and the place before its first chunk.
   * @type {Map<string | symbol, {accepted: number, cursor?: string}>}
   */
  #awaited = new Map();

  get any() {
    return this.#awaited.size > 0;
  }

  /** The one that was accepted last, of those whose id is known. */
  get latest() {
    return [...this.#awaited.keys()].findLast((run) => typeof run === "string");
  }

  /** @param {string | null | undefined} runId */
  isSeen(runId) {
    return typeof runId === "string" && this.#seen.has(runId);
  }

  /**
   * Whether a run was seen, or what is here (up to `here`) goes on beyond its beginning: whatever it said is known.
   * @param {Receipt} receipt
   * @param {string} here
   */
  isPassed({ runId, status, cursor }, here) {
    if (this.isSeen(runId)) return true;
    return cursor !== undefined && status === "in_progress" && isBeyond(here, cursor);
  }

  /**
   * Returns whether it is to be awaited.
   * @param {Receipt} receipt
   * @param {string} here
   * @param {number} accepted
   */
  add(receipt, here, accepted) {
    const { runId, status, cursor } = receipt;
    if (!runId || hasEnded(status) || this.isPassed(receipt, here)) return false;
    this.#awaited.set(runId, { accepted, cursor });
    return true;
  }

  /**
   * The stream tells of it.
   * @param {string} runId
   */
  see(runId) {
    this.#seen.add(runId);
    this.#awaited.delete(runId);
  }

  /** Some run begins: whichever it is, it is the one whose id was not known. */
  begin() {
    this.#awaited.delete(UNNAMED);
  }

  /**
   * A history was read, up to `here`: it knows of all that was accepted before, and of what it tells itself.
   * @param {number} reading
   * @param {string} here
   */
  settle(reading, here) {
    for (const [run, { accepted, cursor }] of this.#awaited) {
      if (accepted < reading || (cursor !== undefined && isBeyond(here, cursor))) this.#awaited.delete(run);
    }
  }

  /**
   * A history says that a run goes on.
   * @param {string | undefined} runId
   * @param {number} reading
   */
  expect(runId, reading) {
    this.#awaited.set(runId ?? UNNAMED, { accepted: reading - 1 });
  }

  clear() {
    this.#awaited.clear();
  }
}

/**
 * @param {string} one
 * @param {string} other
 */
const isBeyond = (one, other) => one !== other && isAfter(one, other);
