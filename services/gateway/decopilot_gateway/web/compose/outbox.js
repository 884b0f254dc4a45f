/** What was sent and is not known to have been accepted: on its way, or back in the box. It outlives the page. No DOM. */

import { keep, recall } from "../stored.js";

const KEPT = "decopilot-outbox";

/**
 * `isBack`: its text is in the box again; those that are stand there in the order of the list.
 * @typedef {{thread: string, id: string, text: string, files: {url: string}[], isPrivate: boolean, isBack?: boolean}} Sent
 */

export class Outbox {
  #name;
  /** @type {Sent[]} */
  #sent = [];

  /** `owner`: who sends; what somebody else left in this tab is not theirs. */
  constructor(owner) {
    this.#name = `${KEPT} ${owner}`;
    try {
      this.#sent = JSON.parse(recall(this.#name, "sessionStorage") ?? "[]").filter(({ thread, id }) => thread && id);
    } catch {
      // Nothing that was written here.
    }
  }

  get all() {
    return this.#sent;
  }

  /** It is on its way. */
  put(sent) {
    this.#keep([...this.#sent, sent]);
  }

  /** Nothing is to be done about it any more. */
  settle(id) {
    this.#keep(this.#sent.filter((sent) => sent.id !== id));
  }

  /** It is in the box again, behind what is there of others; from now on it is known `as` that. */
  giveBack(id, as = id) {
    const isIt = (sent) => sent.id === id;
    const back = this.#sent.filter(isIt).map((sent) => ({ ...sent, id: as, isBack: true }));
    this.#keep([...this.#sent.filter((sent) => !isIt(sent)), ...back]);
  }

  back(thread) {
    return this.#sent.filter((sent) => sent.isBack && sent.thread === thread);
  }

  isSending(thread) {
    return this.#sent.some((sent) => !sent.isBack && sent.thread === thread);
  }

  /** Whether something of it was to make the thread private. */
  isPrivate(thread) {
    return this.#sent.some((sent) => sent.thread === thread && sent.isPrivate);
  }

  /** Forget what is in the box. */
  empty(thread) {
    this.#keep(this.#sent.filter((sent) => !sent.isBack || sent.thread !== thread));
  }

  /**
   * What the box holds, as messages: what was sent before is the message that it was, and keeps its id, so that it can't
   * become two; the rest is a new one. They are in the box no more.
   */
  take(thread, { text, files }) {
    const messages = [];
    const isOf = (sent) => (file) => sent.files.some(({ url }) => url === file.url);
    let [rest, own] = [text, files];
    for (const sent of this.back(thread)) {
      const behind = without(rest, sent.text);
      if (behind === undefined) break; // somebody has changed it
      const attached = own.filter(isOf(sent));
      messages.push({ id: attached.length === sent.files.length ? sent.id : undefined, text: sent.text, files: attached });
      [rest, own] = [behind, own.filter((file) => !attached.includes(file))];
    }
    this.empty(thread);
    if (rest.trim() !== "") return [...messages, { id: undefined, text: rest, files: own }];
    if (own.length === 0) return messages;
    const last = messages.pop();
    return [...messages, { id: undefined, text: last.text, files: [...last.files, ...own] }];
  }

  #keep(sent) {
    this.#sent = sent;
    keep(this.#name, sent.length > 0 ? JSON.stringify(sent) : undefined, "sessionStorage");
  }
}

/** Texts as they stand in the box, one below the other. */
export const joined = (...texts) => texts.filter(Boolean).join("\n");

/** What follows on a beginning; undefined where that is not how it begins. */
export function without(text, beginning) {
  if (beginning === "") return text;
  if (text === beginning) return "";
  return text.startsWith(`${beginning}\n`) ? text.slice(beginning.length + 1) : undefined;
}
