/** Server-sent events, parsed from text that comes in pieces of any size (WHATWG HTML, 9.2.6). */

/**
 * `stored_at`: when the broker stored it (ms since the epoch, by its clock), where a comment of ours says so.
 * @typedef {{id?: string, event: string, data: string, stored_at?: number}} ServerSentEvent
 */

const STORED = /^: stored (\d{1,15}(?:\.\d{1,6})?)$/;

export class EventParser {
  /**
   * The reconnection time that the server asked for.
   * @type {number | undefined}
   */
  retry_ms;
  /** A line that is not complete yet: the pieces it came in, since joining them at each would be quadratic. */
  #pieces = /** @type {string[]} */ ([]);
  /** @type {string | undefined} */
  #id;
  #event = "";
  /** @type {string[]} */
  #data = [];
  /** @type {number | undefined} */
  #stored_at;

  /**
   * Returns the events that are complete now, `id` only where the event has its own.
   * @param {string} text
   * @returns {ServerSentEvent[]}
   */
  push(text) {
    const events = [];
    // A CR at the very end may be the first half of a CRLF.
    const isHalf = this.#pieces.at(-1) === "\r";
    const lines = (isHalf ? this.#pieces.pop() + text : text).split(/\r\n|\n|\r(?!$)/);
    const rest = lines.pop() ?? "";
    if (lines.length > 0) {
      lines[0] = this.#pieces.join("") + lines[0];
      this.#pieces = [];
    }
    if (rest.endsWith("\r")) this.#pieces.push(rest.slice(0, -1), "\r");
    else this.#pieces.push(rest);
    for (const line of lines) {
      if (line !== "") this.#field(line);
      else if (this.#data.length > 0) events.push(this.#flush());
      else this.#clear();
    }
    return events;
  }

  /** @param {string} line */
  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "") this.#comment(line);
    else if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry_ms = Number(value);
  }

  /** @param {string} line */
  #comment(line) {
    const told = STORED.exec(line);
    if (told) this.#stored_at = Number(told[1]);
  }

  #flush() {
    const event = {
      id: this.#id,
      event: this.#event || "message",
      data: this.#data.join("\n"),
      ...(this.#stored_at !== undefined && { stored_at: this.#stored_at }),
    };
    this.#clear();
    return event;
  }

  #clear() {
    this.#id = undefined;
    this.#event = "";
    this.#data = [];
    this.#stored_at = undefined;
  }
}
