/** What is on its way to the server, by thread, in its order; it outlives a reload, to be sent again under its ids. */

import { keep, recall } from "../stored.js";

const KEPT = "decopilot-outbox";

/** @typedef {{thread: string, id: string, text: string, files: object[], interrupts: boolean, run: object}} Sent */

export class Outbox {
  #name;
  #sent;

  /** `owner`: who sends; what somebody else left in this tab is not theirs. */
  constructor(owner) {
    this.#name = `${KEPT} ${owner}`;
    try {
      this.#sent = JSON.parse(recall(this.#name, "sessionStorage") ?? "[]").filter(({ thread, id }) => thread && id);
    } catch {
      this.#sent = [];
    }
  }

  /** What was sent to a thread and is not answered, the oldest first. */
  of(thread) {
    return this.#sent.filter((sent) => sent.thread === thread);
  }

  /** It is sent; twice under one id is once. */
  put(message) {
    if (!this.#sent.some(({ id }) => id === message.id)) this.#keep([...this.#sent, message]);
  }

  /** Somebody answered; tells whether that is news. */
  settle(id) {
    const rest = this.#sent.filter((sent) => sent.id !== id);
    const isNews = rest.length < this.#sent.length;
    if (isNews) this.#keep(rest);
    return isNews;
  }

  #keep(sent) {
    this.#sent = sent;
    keep(this.#name, sent.length > 0 ? JSON.stringify(sent) : undefined, "sessionStorage");
  }
}
