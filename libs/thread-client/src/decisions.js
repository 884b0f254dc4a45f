/**
 * What the last answer waits for, and what was decided here and is not in the log yet: that is shown over the messages until
 * the log says it by itself.
 */

import { answered, keyOf, keyOfResolution, keysIn } from "./interactions.js";

/** @typedef {import("./types.js").UIMessage} UIMessage */
/** @typedef {import("./types.js").Resolution} Resolution */
/** @typedef {{messageId: string, resolution: Resolution, state: "held" | "sending" | "accepted", runId?: string}} Fact */

export class Decisions {
  /** @type {{messageId: string, keys: Set<string>} | undefined} What the last answer waits for. */
  asks;
  /** @type {Map<string, Fact>} By what they decide. */
  #facts = new Map();

  /**
   * A message with what was decided of it.
   * @param {UIMessage} message
   * @returns {UIMessage}
   */
  shown(message) {
    const decided = (/** @type {any} */ part) => this.#of(keyOf(part), message.id);
    if (this.#facts.size === 0 || !message.parts.some(decided)) return message;
    const parts = message.parts.map((part) => {
      const fact = decided(part);
      return fact ? answered(part, fact.resolution) : part;
    });
    return { ...message, parts };
  }

  /** What waits for a decision: `{messageId, kind, id, isBusy}`; `isBusy` is what is being decided here. */
  get pending() {
    const { messageId, keys } = this.asks ?? { messageId: "", keys: [] };
    const known = [...keys].map((key) => ({ key, state: this.#of(key, messageId)?.state }));
    const open = known.filter(({ state }) => state !== "accepted");
    return open.map(({ key, state }) => ({ messageId, ...split(key), isBusy: state !== undefined }));
  }

  /** The decisions that the server may be told of now, and was not told of yet. */
  get ready() {
    const { messageId, keys } = this.asks ?? { messageId: "", keys: [] };
    const held = [...keys].map((key) => this.#of(key, messageId)).filter((fact) => fact?.state === "held");
    return held.map((fact) => /** @type {Fact} */ (fact).resolution);
  }

  /**
   * An answer may be decided on as far as it waits; without `pending` for all that looks so.
   * @param {string | undefined} status how its thread stands
   * @param {UIMessage | undefined} message
   * @param {{kind: string, id: string}[]} [pending]
   */
  ask(status, message, pending) {
    this.asks = undefined;
    if (status !== "requires_action" || !message) return;
    const keys = pending ? new Set(pending.map(({ kind, id }) => `${kind}:${id}`)) : keysIn(message);
    this.asks = { messageId: message.id, keys };
  }

  /**
   * Decide something of a message; what was decided for good stays as it is.
   * @param {UIMessage} message
   * @param {Resolution} resolution
   */
  hold(message, resolution) {
    const key = keyOfResolution(resolution);
    const state = this.#of(key, message.id)?.state;
    if (state === "accepted" || state === "sending") return false;
    this.#facts.set(key, { messageId: message.id, resolution, state: "held" });
    return true;
  }

  /** @param {Resolution[]} resolutions */
  send(resolutions) {
    this.#change(resolutions, { state: "sending" });
  }

  /**
   * The server took them; with the last one the run `runId` goes on.
   * @param {Resolution[]} resolutions
   * @param {string} [runId]
   */
  accept(resolutions, runId) {
    this.#change(resolutions, { state: "accepted", runId });
  }

  /**
   * The server refused them, or can't be reached.
   * @param {Resolution[]} resolutions
   */
  drop(resolutions) {
    for (const resolution of resolutions) this.#facts.delete(keyOfResolution(resolution));
  }

  /**
   * What the log says by itself of a decision needs no word from here.
   * @param {UIMessage[]} messages
   */
  prune(messages) {
    for (const [key, { messageId }] of this.#facts) {
      const message = messages.find(({ id }) => id === messageId);
      if (!message?.parts.some((part) => keyOf(part) === key)) this.#facts.delete(key);
    }
  }

  /**
   * A run of a message has ended: it has told all that it went on with, and what it does not ask nobody can answer. A call
   * whose id comes again is another one.
   * @param {string} messageId
   * @param {string | undefined} runId
   */
  settle(messageId, runId) {
    const asked = this.asks?.keys;
    for (const [key, fact] of this.#facts) {
      if (fact.messageId !== messageId) continue;
      const isTold = fact.state === "accepted" && fact.runId !== undefined && fact.runId === runId;
      if (isTold || (fact.state === "held" && !asked?.has(key))) this.#facts.delete(key);
    }
  }

  /**
   * @param {string | undefined} key
   * @param {string} messageId
   */
  #of(key, messageId) {
    const fact = key === undefined ? undefined : this.#facts.get(key);
    return fact?.messageId === messageId ? fact : undefined;
  }

  /**
   * @param {Resolution[]} resolutions
   * @param {Partial<Fact>} change
   */
  #change(resolutions, change) {
    for (const resolution of resolutions) {
      const key = keyOfResolution(resolution);
      const fact = this.#facts.get(key);
      if (fact) this.#facts.set(key, { ...fact, ...change });
    }
  }
}

/** @param {string} key */
const split = (key) => ({
  kind: /** @type {"approval" | "answer"} */ (key.slice(0, key.indexOf(":"))),
  id: key.slice(key.indexOf(":") + 1),
});
