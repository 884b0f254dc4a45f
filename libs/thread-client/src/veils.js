/**
 * What is being told again: after a reset the stream begins anew before messages that were shown already, some of them
 * half. Each is shown as it was until the stream has come as far again, so that nothing flickers.
 */

import { isAfter } from "./cursor.js";

/** @typedef {import("./types.js").UIMessage} UIMessage */
/** @typedef {{message: UIMessage, base: UIMessage | undefined, until: string}} Veil */

export class Veils {
  /** @type {Map<string, string>} Up to where the stream has told a message, by its id. */
  #told = new Map();
  /** @type {Map<string, Veil>} */
  #veils = new Map();

  clear() {
    this.#told.clear();
    this.#veils.clear();
  }

  /** @param {string} id */
  has(id) {
    return this.#veils.has(id);
  }

  /**
   * The stream has told of a message, up to here.
   * @param {string} id
   * @param {string | undefined} cursor
   */
  note(id, cursor) {
    if (cursor !== undefined && !this.#veils.has(id)) this.#told.set(id, cursor);
  }

  /** @param {UIMessage} message */
  shown(message) {
    return this.#veils.get(message.id)?.message ?? message;
  }

  /**
   * What the history has of a message, behind what is shown of it.
   * @param {UIMessage} message
   */
  baseOf(message) {
    const veil = this.#veils.get(message.id);
    return veil ? veil.base : message;
  }

  /**
   * A history takes the place of what was held: returns what stays in front of it, because the stream has told it from
   * behind its cursor.
   * @param {UIMessage[]} held
   * @param {UIMessage[]} messages
   * @param {string | undefined} cursor
   */
  draw(held, messages, cursor) {
    this.#veils.clear();
    for (const [id, until] of this.#told) if (cursor && !isAfter(until, cursor)) this.#told.delete(id);
    const drawn = held.filter(({ id }) => this.#told.has(id));
    for (const message of drawn) {
      const base = messages.find(({ id }) => id === message.id);
      this.#veils.set(message.id, { message, base, until: /** @type {string} */ (this.#told.get(message.id)) });
    }
    return drawn;
  }

  /**
   * The stream is here: what it had told up to here is shown as it is. Returns whether there was any.
   * @param {string} cursor
   */
  lift(cursor) {
    const before = this.#veils.size;
    for (const [id, { until }] of this.#veils) if (!isAfter(until, cursor)) this.#veils.delete(id);
    return this.#veils.size < before;
  }
}
