/** The conversation as DOM: one article per message, kept and updated rather than made anew. */

import { h } from "./dom.js";
import { createView } from "./parts.js";

const NEAR_END_PX = 80;

const INCOMPLETE = new Map([
  ["length", "The answer reached its length limit."],
  ["content-filter", "The answer was stopped by a content filter."],
  ["tool-calls", "The answer ended on a tool call."],
]);

export class ConversationView {
  #list;
  #scroller;
  #onRetry;
  #articles = new Map();
  #waiting = h("div", { className: "waiting", hidden: true }, h("span", { className: "dots" }), "Thinking…");
  #failed = h("div", { className: "card error", hidden: true }, h("strong", {}, "The last run failed"));

  /** `onRetry(text)`: the reader asks to go on after an answer that failed or is incomplete. */
  constructor(list, scroller, onRetry) {
    this.#list = list;
    this.#scroller = scroller;
    this.#onRetry = onRetry;
    list.append(this.#failed, this.#waiting);
  }

  /** Forget everything: another thread is shown. */
  clear() {
    for (const { element } of this.#articles.values()) element.remove();
    this.#articles.clear();
  }

  get atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  }

  scrollToEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** Returns true if some drawing was put off to a later frame. */
  update(conversation) {
    const follow = this.atEnd;
    const { messages, answering, ends } = conversation;
    const ids = new Set(messages.map(({ id }) => id));
    for (const [id, { element }] of this.#articles) {
      if (ids.has(id)) continue;
      element.remove();
      this.#articles.delete(id);
    }
    let later = false;
    let before = this.#list.firstElementChild;
    for (const message of messages) {
      const article = this.#article(message);
      if (article.element === before) before = before.nextElementSibling;
      else this.#list.insertBefore(article.element, before);
      const live = message === answering;
      const sent = !conversation.isUnconfirmed(message.id);
      later = article.update(message, { live, sent, end: ends.get(message.id) }) || later;
    }
    this.#waiting.hidden = !conversation.waiting;
    const last = messages.at(-1);
    this.#failed.hidden = conversation.active || conversation.status !== "failed" || !last || ends.has(last.id);
    this.#list.setAttribute("aria-busy", String(conversation.active));
    if (follow) this.scrollToEnd();
    return later;
  }

  #article(message) {
    const role = message.role === "user" ? "user" : "assistant";
    let article = this.#articles.get(message.id);
    if (!article) {
      article = role === "user" ? question(message) : answer(message, this.#onRetry);
      this.#articles.set(message.id, article);
    }
    return article;
  }
}

function shell(message, role, ...children) {
  return h(
    "article",
    { className: `message ${role}`, "data-testid": "message", "data-role": role, "data-message-id": message.id },
    h("h3", { className: "visually-hidden" }, role === "user" ? "You" : "Decopilot"),
    ...children,
  );
}

/** A person's own words are shown as typed. */
function question(message) {
  const body = h("div", { className: "bubble" });
  const element = shell(message, "user", body);
  return {
    element,
    update({ parts }, { sent }) {
      const text = parts.filter((part) => part?.type === "text").map((part) => String(part.text)).join("\n");
      if (body.textContent !== text) body.textContent = text;
      element.classList.toggle("unconfirmed", !sent);
      return false;
    },
  };
}

function answer(message, onRetry) {
  const body = h("div", { className: "parts" });
  const foot = h("div");
  const element = shell(message, "assistant", body, foot);
  let views = [];
  let shown;
  return {
    element,
    update(message, { live, end }) {
      // A finished message changes only by being replaced.
      const replaced = shown !== undefined && shown.message !== message;
      if (shown && !replaced && shown.end === end && !live && !shown.live && !shown.later) return false;
      if (replaced) {
        body.replaceChildren();
        views = [];
      }
      let later = false;
      for (const [index, part] of message.parts.entries()) {
        if (index >= views.length) {
          views.push(createView(part));
          if (views[index]) body.append(views[index].element);
        }
        later = views[index]?.update(part, live) || later;
      }
      element.dataset.streaming = String(live);
      const empty = !views.some(Boolean);
      element.classList.toggle("empty", live && empty);
      if (!shown || replaced || shown.end !== end || shown.live !== live) {
        foot.replaceChildren(...ending(end, { live, empty }, onRetry));
      }
      shown = { message, live, end, later };
      return later;
    },
  };
}

function ending(end, { live, empty }, onRetry) {
  if (live) return [];
  if (!end) return empty ? [h("p", { className: "aside" }, "No response was generated.")] : [];
  const { finishReason, errorText, aborted } = end;
  if (aborted) return [h("p", { className: "aside" }, "Stopped.")];
  // A run cut short by a limit also counts as failed and carries an `error`; the limit says more.
  const limit = INCOMPLETE.get(finishReason);
  if (!limit && (finishReason === "error" || errorText !== undefined)) {
    return [card("error", "Something went wrong", errorText || "The run failed.", "Try again", () => onRetry())];
  }
  if (finishReason !== "stop") {
    const text = limit ?? `The response stopped unexpectedly: ${finishReason}.`;
    return [card("warning", "Response incomplete", text, "Continue", () => onRetry("Please continue."))];
  }
  return empty ? [h("p", { className: "aside" }, "No response was generated.")] : [];
}

function card(kind, title, text, action, onClick) {
  const button = h("button", { type: "button", className: "quiet" }, action);
  button.addEventListener("click", onClick);
  const told = [h("strong", {}, title), h("p", {}, text)];
  return h("div", { className: `card ${kind}`, "data-testid": `${kind}-card` }, ...told, button);
}
