/** What was written and not sent, by thread; it outlives a reload. */

import { keep, recall } from "../stored.js";

const KEPT = "decopilot-drafts";
/** A chat that has no name yet. */
export const NEW = "";

export class Drafts {
  #name;
  #texts;

  /** `owner`: who writes; what somebody else left in this tab is not theirs. */
  constructor(owner) {
    this.#name = `${KEPT} ${owner}`;
    try {
      this.#texts = new Map(Object.entries(JSON.parse(recall(this.#name, "sessionStorage") ?? "{}")));
    } catch {
      this.#texts = new Map();
    }
  }

  get(thread) {
    return String(this.#texts.get(thread) ?? "");
  }

  set(thread, text) {
    if (this.get(thread) === text) return;
    if (text) this.#texts.set(thread, text);
    else this.#texts.delete(thread);
    keep(this.#name, this.#texts.size > 0 ? JSON.stringify(Object.fromEntries(this.#texts)) : undefined, "sessionStorage");
  }
}
