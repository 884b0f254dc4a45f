/** The messages that are queued, above the box where one writes. */

import { h } from "../dom.js";
import { filesOf, textOf } from "../thread/answer.js";

export class QueueView {
  #element;
  #takeBack;
  #rows = new Map();

  /** `takeBack(queued)`: the reader wants a message out of the queue, and its text back. */
  constructor(element, takeBack) {
    this.#element = element;
    this.#takeBack = takeBack;
  }

  update({ queue }) {
    const ids = new Set(queue.map(({ messageId }) => messageId));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    for (const [index, queued] of queue.entries()) {
      const row = this.#rows.get(queued.messageId) ?? this.#row(queued);
      const there = this.#element.children[index];
      if (there !== row) this.#element.insertBefore(row, there ?? null);
      row.classList.toggle("unconfirmed", queued.isSending);
      row.querySelector("button").disabled = queued.isSending;
    }
    this.#element.hidden = queue.length === 0;
  }

  #row(queued) {
    const text = textOf(queued.message);
    const back = h("button", { type: "button", className: "quiet", "data-testid": "take-back" }, "Remove");
    back.setAttribute("aria-label", `Remove: ${text.slice(0, 60)}`);
    back.addEventListener("click", () => {
      back.disabled = true;
      this.#takeBack({ messageId: queued.messageId, text, files: filesOf(queued.message) }).finally(() => (back.disabled = false));
    });
    const place = h("span", { className: "queued-place" }, queued.interrupts ? "Next" : "Queued");
    const row = h("li", { "data-testid": "queued", "data-message-id": queued.messageId });
    row.append(place, h("span", { className: "queued-text" }, text), back);
    this.#rows.set(queued.messageId, row);
    return row;
  }
}
