/** The conversation as DOM: one article per message, kept and updated rather than made anew. */

import { h } from "./dom.js";
import { interruptedIn } from "./client/interactions.js";
import { createView, fileView, identityOf } from "./parts.js";

const NEAR_END_PX = 80;

const INCOMPLETE = new Map([
  ["length", "The answer reached its length limit."],
  ["content-filter", "The answer was stopped by a content filter."],
  ["tool-calls", "The answer ended on a tool call."],
]);

const STOPPED = new Map([
  ["cancelled", "Stopped."],
  ["superseded", "Replaced by a newer message."],
]);

/** What the server says of these is what their title says. */
const FAILED = new Map([
  ["timed_out", ["The answer took too long", "It was ended at its time limit. What was written is kept."]],
  ["crashed", ["The answer was interrupted too often", "Its server failed each time. What was written is kept."]],
  ["undeliverable", ["Nobody took the message up in time", "The servers are busy or down."]],
]);

const retrying = ({ attempt, category }) =>
  `The model's provider ${category === "rate_limit" ? "is busy" : "doesn't answer"}. Trying again (${attempt})…`;

export class ConversationView {
  #list;
  #scroller;
  #actions;
  #articles = new Map();
  #waiting = h("div", { className: "waiting", hidden: true }, h("span", { className: "dots" }), "Thinking…");
  #silent = h("p", { className: "silent", role: "status", "data-testid": "silent" });
  #failed = h("p", { className: "aside", hidden: true }, "The last run ended without an answer.");

  /**
   * - `retry(text)`: the reader asks to go on after an answer that failed or is incomplete
   * - `resolve(resolution)`: the reader decides something that the answer waits for
   * - `regenerate(messageId)`, `fork(messageId)`: another answer is wished for, or another thread up to this one
   * - `inspect(messageId)`: the reader wants to see how the answer came about
   */
  constructor(list, scroller, actions) {
    this.#list = list;
    this.#scroller = scroller;
    this.#actions = actions;
    list.append(this.#silent, this.#failed, this.#waiting);
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

  /**
   * Draw a ThreadChat's snapshot. `silent`: the answer has stood still for long. Returns true if some drawing was put off
   * to a later frame.
   */
  update(chat, { silent }) {
    const follow = this.atEnd;
    const { messages, ends } = chat;
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
      const live = message.id === chat.answeringId;
      const sent = !chat.sending.has(message.id);
      const asks = asksOf(chat, message);
      later = article.update(message, { live, sent, end: ends.get(message.id), asks }) || later;
    }
    const still = chat.retry ? retrying(chat.retry) : silent ? "Still working…" : "";
    if (this.#silent.textContent !== still) this.#silent.textContent = still;
    this.#waiting.hidden = !chat.isWaiting;
    const last = messages.at(-1);
    this.#failed.hidden = chat.isActive || chat.threadStatus !== "failed" || !last || ends.has(last.id);
    this.#list.setAttribute("aria-busy", String(chat.isActive));
    if (follow) this.scrollToEnd();
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

/** What a message waits for, by the keys of its parts: whether each is being decided; undefined if it waits for nothing. */
function asksOf({ pending }, { id }) {
  const mine = pending.filter(({ messageId }) => messageId === id);
  return mine.length > 0 ? new Map(mine.map((one) => [`${one.kind}:${one.id}`, one.isBusy])) : undefined;
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
  const files = h("div", { className: "files" });
  const element = shell(message, "user", body, files);
  let attached = "";
  return {
    element,
    update({ parts }, { sent }) {
      const given = parts.filter((part) => part?.type === "file");
      const now = given.map(identityOf).join("\n");
      if (attached !== now) files.replaceChildren(...given.map((part) => fileView(part).element));
      attached = now;
      const text = parts.filter((part) => part?.type === "text").map((part) => String(part.text)).join("\n");
      if (body.textContent !== text) body.textContent = text;
      element.classList.toggle("unconfirmed", !sent);
      return false;
    },
  };
}

function answer(message, { retry, resolve, regenerate, fork, inspect }) {
  const body = h("div", { className: "parts" });
  const foot = h("div");
  const tools = h(
    "div",
    { className: "answer-tools" },
    tool("regenerate", "Answer anew: what follows goes", () => regenerate(message.id)),
    tool("fork", "Go on from here in a new chat", () => fork(message.id)),
    tool("inspect", "Inspect run", () => inspect(message.id)),
  );
  const element = shell(message, "assistant", body, foot, tools);
  const views = [];
  let shown;
  return {
    element,
    update(message, { live, end, asks }) {
      // A finished message changes only by being replaced.
      const isSame = shown?.message === message && shown.end === end && isSameMap(shown.asks, asks);
      if (isSame && !live && !shown.live && !shown.later) return false;
      let later = false;
      const context = { live, asks, interrupted: interruptedIn(message), resolve };
      for (const [index, part] of message.parts.entries()) {
        later = viewAt(index, part)?.update(part, context) || later;
      }
      cut(message.parts.length);
      element.dataset.streaming = String(live);
      const empty = !views.some(({ view }) => view);
      element.classList.toggle("empty", live && empty);
      if (!isSame || shown.live !== live) foot.replaceChildren(...ending(end, { live, empty }, retry));
      shown = { message, live, end, asks, later };
      return later;
    },
  };

  /** A message that was replaced keeps the views of what it has in common with the one before: nothing flickers. */
  function viewAt(index, part) {
    const identity = identityOf(part);
    if (views[index] && views[index].identity !== identity) cut(index);
    if (!views[index]) {
      views[index] = { identity, view: createView(part) };
      if (views[index].view) body.append(views[index].view.element);
    }
    return views[index].view;
  }

  function cut(length) {
    for (const { view } of views.splice(length)) view?.element.remove();
  }
}

const isSameMap = (one, other) => JSON.stringify([...(one ?? [])]) === JSON.stringify([...(other ?? [])]);

function ending(end, { live, empty }, retry) {
  if (live) return [];
  const nothing = empty ? [h("p", { className: "aside" }, "No response was generated.")] : [];
  if (!end) return nothing;
  const { finishReason, errorText, aborted, status, reason } = end;
  if (aborted || STOPPED.has(reason)) {
    const text = STOPPED.get(reason) ?? STOPPED.get("cancelled");
    return [h("p", { className: "aside", "data-testid": "stopped" }, text)];
  }
  // A run cut short by a limit also counts as failed and carries an `error`; the limit says more.
  const limit = INCOMPLETE.get(finishReason);
  if (!limit && (finishReason === "error" || errorText !== undefined)) {
    const [title, text] = FAILED.get(reason) ?? ["Something went wrong", errorText || "The run failed."];
    return [card("error", title, text, "Try again", () => retry())];
  }
  if (status === "requires_action") return [];
  if (finishReason !== "stop") {
    const text = limit ?? `The response stopped unexpectedly: ${finishReason}.`;
    return [card("warning", "Response incomplete", text, "Continue", () => retry("Please continue."))];
  }
  return nothing;
}

/** Its sign is drawn by the style sheet: it is no part of what was said. */
function tool(name, label, onClick) {
  const button = h("button", { type: "button", title: label, "aria-label": label, "data-testid": name });
  button.addEventListener("click", onClick);
  return button;
}

function card(kind, title, text, action, onClick) {
  const button = h("button", { type: "button", className: "quiet" }, action);
  button.addEventListener("click", onClick);
  const told = [h("strong", {}, title), h("p", {}, text)];
  return h("div", { className: `card ${kind}`, "data-testid": `${kind}-card` }, ...told, button);
}
