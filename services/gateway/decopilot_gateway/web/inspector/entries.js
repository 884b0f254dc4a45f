/** Which chunk stands where in a list of a run's chunks, told from its frames alone. No DOM, no network. */

/** The chunks that count no more, as a kind. */
export const VOID = "(void)";

/** Whether a chunk as the server lists it is of a kind; every one is of none. */
export const isOfKind = (stored, kind) => !kind || (kind === VOID ? stored.void : stored.chunk?.type === kind);

const countIn = (frame, kind) => (!kind ? frame.chunks : kind === VOID ? frame.voidChunks : (frame.kinds[kind] ?? 0));

export class Entries {
  #frames = [];
  /** How many entries stand before each frame's. */
  #before = [];

  /** Those of one `kind`, or all of them. */
  constructor(frames, kind = "") {
    this.total = 0;
    for (const frame of frames) {
      const count = Object.hasOwn(frame.kinds, kind) || !kind || kind === VOID ? countIn(frame, kind) : 0;
      if (count === 0) continue;
      this.#frames.push(frame);
      this.#before.push(this.total);
      this.total += count;
    }
  }

  /** The frame that holds an entry, and which of its own kind it is there. */
  at(position) {
    const index = this.#indexOf(position);
    return { frame: this.#frames[index], ordinal: position - this.#before[index] };
  }

  /** The frames of entries from a position up to before another. */
  framesOf(from, to) {
    return from < to ? this.#frames.slice(this.#indexOf(from), this.#indexOf(to - 1) + 1) : [];
  }

  /** Where the first entry is that stands in a frame, or behind it. */
  positionOf(sequence) {
    const index = this.#frames.findIndex((frame) => frame.sequence >= sequence);
    return index < 0 ? Math.max(0, this.total - 1) : this.#before[index];
  }

  #indexOf(position) {
    let [low, high] = [0, this.#before.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#before[middle] <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** How many chunks there are of each kind, the commonest first. */
export function kindsOf(frames) {
  const counts = new Map();
  for (const { kinds } of frames) {
    for (const [kind, count] of Object.entries(kinds)) counts.set(kind, (counts.get(kind) ?? 0) + count);
  }
  return [...counts].sort(([one, many], [other, more]) => more - many || (one < other ? -1 : 1));
}
