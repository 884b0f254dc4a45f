/** Chunks of a run by the frames that hold them: read when they are to be seen, and forgotten when many others were. */

const FRAMES_KEPT = 2_000;

export class ChunkCache {
  #read;
  #frames = new Map();
  #wanted = new Set();
  #age = 0;

  /** `read({frame, behind})`: a page of the run's chunks from a frame on, or behind a cursor. */
  constructor(read) {
    this.#read = read;
  }

  /** The chunks of a frame; undefined until they were read. */
  get(sequence) {
    return this.#frames.get(sequence);
  }

  clear() {
    this.#frames.clear();
    this.#wanted.clear();
    this.#age += 1;
  }

  /** Read what is missing of some frames, in order; resolves to whether they are gone from the log. */
  async want(frames) {
    const missing = frames.filter(({ sequence }) => !this.#frames.has(sequence) && !this.#wanted.has(sequence));
    const age = this.#age;
    let isGone = false;
    for (const { sequence } of missing) this.#wanted.add(sequence);
    try {
      for (let next = 0; next < missing.length && !isGone && age === this.#age; ) {
        const found = await this.#readFrom(missing[next], missing.at(-1), age);
        isGone = found === 0 && age === this.#age;
        while (next < missing.length && this.#frames.has(missing[next].sequence)) next += 1;
      }
    } finally {
      for (const { sequence } of missing) this.#wanted.delete(sequence);
    }
    return isGone;
  }

  /** Read a page or more, until a frame is whole; returns how many frames were. */
  async #readFrom(first, last, age) {
    const read = new Map();
    let behind;
    do {
      const page = await this.#read(behind ? { behind } : { frame: first.sequence });
      for (const stored of page.chunks) {
        const sequence = Number(stored.cursor.split("-", 1)[0]);
        if (!read.has(sequence)) read.set(sequence, []);
        read.get(sequence).push(stored);
      }
      behind = page.next ?? undefined;
      // The last frame of a page may have more behind its end.
    } while (behind && read.size < 2 && [...read.keys()].every((sequence) => sequence <= last.sequence));
    if (behind) read.delete([...read.keys()].at(-1));
    if (age !== this.#age) return 0;
    for (const [sequence, chunks] of read) this.#keep(sequence, chunks);
    return read.has(first.sequence) ? read.size : 0;
  }

  #keep(sequence, chunks) {
    this.#frames.delete(sequence);
    this.#frames.set(sequence, chunks);
    if (this.#frames.size > FRAMES_KEPT) this.#frames.delete(this.#frames.keys().next().value);
  }
}
