/**
 * The messages of a thread in their order: those that history and stream have told, and behind them those that are known
 * here before the stream tells of them.
 */

/** @typedef {import("./types.js").UIMessage} UIMessage */

export class Transcript {
  /** @type {UIMessage[]} */
  messages = [];
  /** @type {Set<string>} */
  #ahead = new Set();

  /** @param {UIMessage[]} messages */
  load(messages) {
    this.messages = messages;
    this.#ahead.clear();
  }

  /** @param {string | undefined} id */
  find(id) {
    return this.messages.find((message) => message.id === id);
  }

  /** @param {string} id */
  has(id) {
    return this.find(id) !== undefined;
  }

  /**
   * Put what was told in its place, or behind all that was told.
   * @param {UIMessage} message
   */
  put(message) {
    const place = this.messages.findIndex(({ id }) => id === message.id);
    if (place < 0) this.messages.splice(this.#toldUpTo, 0, message);
    else this.messages[place] = message;
  }

  /**
   * The stream tells of a question: it belongs in front of its answer.
   * @param {UIMessage} message
   * @param {string | undefined} answerId
   */
  adopt(message, answerId) {
    if (this.#ahead.has(message.id)) this.drop(message.id);
    const place = this.messages.findIndex(({ id }) => id === answerId);
    if (place < 0 || this.has(message.id)) this.put(message);
    else this.messages.splice(place, 0, message);
  }

  /**
   * Show what the stream will tell of.
   * @param {UIMessage} message
   */
  showAhead(message) {
    this.#ahead.add(message.id);
    this.messages.push(message);
  }

  /** @param {string} id */
  drop(id) {
    this.#ahead.delete(id);
    this.messages = this.messages.filter((message) => message.id !== id);
  }

  /**
   * What was told behind a message has left the thread, all but one.
   * @param {string} after
   * @param {string | undefined} but
   */
  dropBehind(after, but) {
    const last = this.messages.findIndex(({ id }) => id === after);
    if (last < 0) return;
    this.messages = this.messages.filter(({ id }, place) => place <= last || id === but || this.#ahead.has(id));
  }

  /**
   * @param {string} id
   * @param {(part: any) => any} change
   */
  changeParts(id, change) {
    const message = this.find(id);
    if (message) this.put({ ...message, parts: message.parts.map(change) });
  }

  get #toldUpTo() {
    const place = this.messages.findIndex(({ id }) => this.#ahead.has(id));
    return place < 0 ? this.messages.length : place;
  }
}
