/** The conversation as DOM: one article per message, kept and updated rather than made anew. */

import { arrange, h, setText } from "../dom.js";
import { answer, question } from "./answer.js";

const NEAR_END_PX = 80;

const retrying = ({ attempt, category }) =>
  `The model's provider ${category === "rate_limit" ? "is busy" : "doesn't answer"}. Trying again (${attempt})…`;

export class ConversationView {
  #list;
  #scroller;
  #actions;
  #articles = new Map();
  #follows = true;
  /** There is an end to follow; what is shown to those who have said nothing is read from its beginning. */
  #hasEnd = false;
  #waitingText = h("span", {}, "Thinking…");
  #waiting = h("div", { className: "waiting", hidden: true }, h("span", { className: "dots" }), this.#waitingText);
  #silent = h("p", { className: "silent", role: "status", "data-testid": "silent" });
  #failed = h("p", { className: "aside", hidden: true }, "The last run ended without an answer.");

  /**
   * - `goOn()`: the reader asks an incomplete answer to go on
   * - `regenerate(messageId)`, `fork(messageId)`: another answer is wished for, or another thread up to this one
   * - `inspect(messageId)`: the reader wants to see the run behind an answer
   */
  constructor(list, scroller, actions) {
    this.#list = list;
    this.#scroller = scroller;
    this.#actions = actions;
    list.append(this.#silent, this.#failed, this.#waiting);
    scroller.addEventListener("scroll", () => (this.#follows = !this.#hasEnd || this.atEnd), { passive: true });
    // The answer grows; a card below, or a keyboard on the screen, takes the height: who read the end still does. Told
    // by the browser once it has laid out, because to ask for the height after each change would have it lay out at once.
    const sizes = new ResizeObserver(() => this.follows && this.scrollToEnd());
    sizes.observe(scroller);
    sizes.observe(list);
  }

  /** Forget everything: another thread is shown. */
  clear() {
    for (const { element } of this.#articles.values()) element.remove();
    this.#articles.clear();
    this.#follows = true;
    this.#hasEnd = false;
    this.#scroller.scrollTop = 0;
  }

  /** Whether the end is in sight, and is to stay so. */
  get follows() {
    return this.#follows && this.#hasEnd;
  }

  get atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  }

  scrollToEnd() {
    this.#follows = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /**
   * Draw a ThreadChat's snapshot. `silent`: the answer has stood still for long. Returns true if some drawing was put off
   * to a later frame.
   */
  update(chat, { silent }) {
    const { messages, ends } = chat;
    const ids = new Set(messages.map(({ id }) => id));
    for (const [id, { element }] of this.#articles) {
      if (ids.has(id)) continue;
      if (element.contains(document.activeElement)) this.#scroller.focus();
      element.remove();
      this.#articles.delete(id);
    }
    let later = false;
    const last = messages.at(-1);
    arrange(
      this.#list,
      messages.map((message) => this.#article(message).element),
    );
    for (const message of messages) {
      const live = message.id === chat.answeringId;
      const sent = !chat.sending.has(message.id);
      const isLast = message === last && !chat.isActive;
      const how = {
        live,
        sent,
        isLast,
        end: ends.get(message.id),
        asks: asksOf(chat, message),
        progress: chat.progress,
      };
      later = this.#article(message).update(message, how) || later;
    }
    const still = chat.retry ? retrying(chat.retry) : silent ? "Still working…" : "";
    setText(this.#silent, chat.isStopping ? "Stopping…" : still);
    setText(this.#waitingText, chat.isStopping ? "Stopping…" : "Thinking…");
    this.#waiting.hidden = !chat.isWaiting;
    this.#failed.hidden = chat.isActive || chat.threadStatus !== "failed" || !last || ends.has(last.id);
    this.#list.setAttribute("aria-busy", String(chat.isActive));
    this.#hasEnd = messages.length > 0;
    return later;
  }

  #article(message) {
    const role = message.role === "user" ? "user" : "assistant";
    let article = this.#articles.get(message.id);
    if (!article) {
      article = role === "user" ? question(message) : answer(message, this.#actions);
      this.#articles.set(message.id, article);
    }
    return article;
  }
}

/** The keys of what a message waits for; undefined if it waits for nothing. */
function asksOf({ pending }, { id }) {
  const mine = pending.filter(({ messageId }) => messageId === id);
  return mine.length > 0 ? new Set(mine.map((one) => `${one.kind}:${one.id}`)) : undefined;
}
