/**
 * What the server's clock shows. Each exchange bounds how far it is ahead of ours: an answer is made after its question
 * was sent and before it is here. Bounds only narrow, so the error is known and not guessed.
 */

/** So much two clocks may drift apart: what is known of them grows old. */
const DRIFT = 1e-4;

export class ServerClock {
  #least_ms = -Infinity;
  #most_ms = Infinity;
  #noted_at = 0;

  /** How far it is ahead of ours; half of what there is between the bounds is the error. */
  get ahead_ms() {
    return (this.#least_ms + this.#most_ms) / 2;
  }

  get error_ms() {
    return (this.#most_ms - this.#least_ms) / 2;
  }

  /**
   * We asked, the server answered at its `server_at`, and the answer is here.
   * @param {number} asked_at
   * @param {number} server_at
   * @param {number} heard_at
   */
  exchanged(asked_at, server_at, heard_at) {
    const [least, most] = [server_at - heard_at, server_at - asked_at];
    const aged = this.#age(heard_at);
    this.#least_ms = Math.max(this.#least_ms - aged, least);
    this.#most_ms = Math.min(this.#most_ms + aged, most);
    // One of the clocks was set, or ours stood still while the machine slept.
    if (this.#least_ms > this.#most_ms) [this.#least_ms, this.#most_ms] = [least, most];
  }

  /**
   * What the server has dated is here.
   * @param {number} server_at
   * @param {number} heard_at
   */
  heard(server_at, heard_at) {
    const aged = this.#age(heard_at);
    this.#least_ms = Math.max(this.#least_ms - aged, server_at - heard_at);
    this.#most_ms += aged;
    // The broker dates chunks, the gateway answers: what their clocks differ by belongs to the error.
    if (this.#least_ms > this.#most_ms) this.#most_ms = 2 * this.#least_ms - this.#most_ms;
  }

  /** @param {number} now */
  #age(now) {
    const aged_ms = this.#noted_at && DRIFT * Math.max(0, now - this.#noted_at);
    this.#noted_at = now;
    return aged_ms;
  }
}
