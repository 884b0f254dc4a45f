/** Tells when an answer has stood still for so long that its reader wonders whether anybody still writes it. */

const LONG_MS = 3_000;

export class Silence {
  /** It has stood still for too long. */
  isLong = false;
  #place;
  #timer;
  #onLong;
  #long_ms;

  constructor(onLong, long_ms = LONG_MS) {
    this.#onLong = onLong;
    this.#long_ms = long_ms;
  }

  /** `place` is how far the answer has come, undefined while nobody waits for its next words. */
  watch(place) {
    if (place === this.#place) return;
    clearTimeout(this.#timer);
    this.#place = place;
    this.isLong = false;
    if (place === undefined) return;
    this.#timer = setTimeout(() => {
      this.isLong = true;
      this.#onLong();
    }, this.#long_ms);
  }
}
