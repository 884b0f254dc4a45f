/**
 * What was sent: messages that wait their turn, and those of this tab that the log has not shown yet.
 *
 * A reading of the server takes time. What was accepted, or taken back, after it began may be missing in it, or still be
 * there: the word from here wins over it, until a later reading.
 */

import { isMessage } from "./fold.js";

/** @typedef {import("./types.js").UIMessage} UIMessage */
/** @typedef {import("./types.js").QueuedMessage} QueuedMessage */
/**
 * `isQueued` tells where it is shown; `accepted` is the reading that had begun last when the server took it.
 * @typedef {{messageId: string, runId?: string, message: UIMessage, interrupts: boolean, isQueued: boolean,
 *   accepted?: number}} Offer
 */

export class Line {
  /** @type {QueuedMessage[]} The next one first. */
  queue = [];
  /** @type {Map<string, Offer>} */
  #offers = new Map();
  /** @type {Map<string, number>} */
  #takenBack = new Map();
  #readings = 0;
  #latest = 0;

  /** A reading begins; its number goes with what it finds. */
  reading() {
    this.#readings += 1;
    return this.#readings;
  }

  get readings() {
    return this.#readings;
  }

  /** @param {string} id */
  isOffered(id) {
    return this.#offers.has(id);
  }

  /**
   * It was sent, and the server has not accepted it yet.
   * @param {string} id
   */
  isUnconfirmed(id) {
    return this.#offers.has(id) && this.#offers.get(id)?.accepted === undefined;
  }

  /** @param {string} id */
  has(id) {
    return this.queue.some(({ messageId }) => messageId === id);
  }

  /** @param {Offer} offer */
  offer(offer) {
    this.#offers.set(offer.messageId, offer);
    if (!offer.isQueued) this.leave(offer.messageId);
    else if (this.has(offer.messageId)) this.queue = this.queue.map((one) => (one.messageId === offer.messageId ? queued(offer) : one));
    else this.#enqueue(offer);
  }

  /**
   * The log has shown it, or nobody will: nothing is to be said of it from here.
   * @param {string} id
   */
  forget(id) {
    const offer = this.#offers.get(id);
    this.#offers.delete(id);
    this.leave(id);
    return offer;
  }

  /**
   * It waits no more.
   * @param {string} id
   */
  leave(id) {
    if (this.has(id)) this.queue = this.queue.filter(({ messageId }) => messageId !== id);
  }

  /** @param {string} id */
  takeBack(id) {
    this.forget(id);
    this.#takenBack.set(id, this.#readings);
  }

  /**
   * Those that a queue does not name any more, though nothing here says why.
   * @param {QueuedMessage[]} queue
   */
  missingIn(queue) {
    const isThere = (/** @type {string} */ id) => queue.some(({ messageId }) => messageId === id);
    return this.queue.filter(({ messageId }) => !isThere(messageId) && !this.isUnconfirmed(messageId));
  }

  /**
   * Take a queue that was read as the truth; returns the messages to be shown in the chat, of those sent here. `isHistory`:
   * the chat was read with it, so what is not shown is not there.
   * @param {QueuedMessage[]} queue
   * @param {number} reading
   * @param {(id: string) => boolean} isShown
   * @param {boolean} isHistory
   */
  load(queue, reading, isShown, isHistory) {
    if (reading >= this.#latest) {
      this.#latest = reading;
      const isGone = (/** @type {string} */ id) => (this.#takenBack.get(id) ?? -1) >= reading;
      const waits = (/** @type {QueuedMessage} */ { messageId, message }) =>
        isMessage(message) && !isShown(message.id) && !isGone(messageId);
      this.queue = queue.filter(waits);
    }
    const inChat = [];
    for (const [id, offer] of this.#offers) {
      if (offer.isQueued && isShown(id)) offer.isQueued = false;
      const isOld = offer.accepted !== undefined && offer.accepted < reading;
      if (isOld && (isHistory || offer.isQueued)) this.#offers.delete(id);
      else if (isShown(id) || this.has(id)) continue;
      else if (offer.isQueued) this.#enqueue(offer);
      else inChat.push(offer.message);
    }
    return inChat;
  }

  /** @param {Offer} offer */
  #enqueue(offer) {
    this.queue = offer.interrupts ? [queued(offer), ...this.queue] : [...this.queue, queued(offer)];
  }
}

/**
 * @param {Offer} offer
 * @returns {QueuedMessage}
 */
const queued = ({ messageId, runId, message, interrupts }) => ({ messageId, runId, message, interrupts });
