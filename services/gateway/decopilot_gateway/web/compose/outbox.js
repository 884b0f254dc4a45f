/** What was sent and is not known to have been accepted, in its order; it outlives a reload. No DOM. */

import { keep, recall } from "../stored.js";

const KEPT = "decopilot-outbox";

/**
 * `isBack`: its text is in the box again. `isLost`: it was sent, or given back, by a page that is gone.
 * @typedef {{thread: string, id: string, text: string, files: object[], isPrivate: boolean, isBack?: boolean,
 *   isLost?: boolean}} Sent
 */

export class Outbox {
  #name;
  /** @type {Sent[]} */
  #sent;

  /** `owner`: who sends; what somebody else left in this tab is not theirs. */
  constructor(owner) {
    this.#name = `${KEPT} ${owner}`;
    try {
      const kept = JSON.parse(recall(this.#name, "sessionStorage") ?? "[]");
      this.#sent = kept.filter(({ thread, id }) => thread && id).map((sent) => ({ ...sent, isLost: true }));
    } catch {
      this.#sent = [];
    }
  }

  /** It is being sent. */
  put(sent) {
    this.#keep([...this.#sent, sent]);
  }

  /** Nothing is to be done about it any more. */
  settle(id) {
    this.#keep(this.#sent.filter((sent) => sent.id !== id));
  }

  /** The box of a thread was emptied. */
  empty(thread) {
    this.#keep(this.#sent.filter((sent) => sent.thread !== thread || !sent.isBack));
  }

  /** Its text is in the box again, behind those that are there. */
  giveBack(id) {
    this.#keep(this.#sent.map((sent) => (sent.id === id ? { ...sent, isBack: true, isLost: false } : sent)));
  }

  lost(thread) {
    return this.#sent.filter((sent) => sent.isLost && sent.thread === thread);
  }

  /** Those whose texts are in the box of a thread, in that order. */
  back(thread) {
    return this.#sent.filter((sent) => sent.isBack && !sent.isLost && sent.thread === thread);
  }

  /** The id under which a text was sent already: said again under it, it can't become two messages. */
  idOf(thread, text) {
    return this.back(thread).find((sent) => sent.text === text)?.id;
  }

  /** Whether something was sent to a thread that was to be private with it. */
  isPrivate(thread) {
    return this.#sent.some((sent) => sent.thread === thread && sent.isPrivate);
  }

  #keep(sent) {
    this.#sent = sent;
    keep(this.#name, sent.length > 0 ? JSON.stringify(sent) : undefined, "sessionStorage");
  }
}
