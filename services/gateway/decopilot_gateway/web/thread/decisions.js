/** What the open thread waits for its reader to decide, one thing at a time, above where one writes. */

import { button, h, label, setText } from "../dom.js";
import { icon } from "../icons.js";
import { interruptedIn } from "../client/interactions.js";
import { askView } from "./asking.js";
import { waitingIn } from "./waiting.js";

export class Decisions {
  #element;
  #options;
  #views = new Map();
  #shown;
  #chosen;
  /** The keys that waited together, so that the second of three stays the second. */
  #group = [];
  #place = h("span", { className: "ask-place", role: "status" });
  #back = button(icon("left"), "icon", "ask-back", () => this.#turn(-1));
  #on = button(icon("right"), "icon", "ask-on", () => this.#turn(1));
  #all = button("", "quiet", "accept-all", () => this.#acceptAll());
  #kind = h("strong", {});
  #head = h(
    "div",
    { className: "ask-head" },
    this.#kind,
    this.#all,
    h("span", { className: "ask-pager" }, this.#back, this.#place, this.#on),
  );
  #open = [];

  /**
   * - `resolve(resolution)`: the reader has decided
   * - `onShown({kind, label, focus})`: another decision is shown; `focus()` goes there
   * - `onTurned()`: the reader wants to see another one; `onTyped()`: a letter that no form takes
   * - `onGone(hadFocus)`: nothing is shown any more
   */
  constructor(element, options) {
    this.#element = element;
    this.#options = options;
    label(this.#back, "The one before");
    label(this.#on, "The next one");
    element.addEventListener("keydown", (event) => {
      const isText = event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey;
      if (isText && !event.defaultPrevented && event.target.matches(".ask-form")) options.onTyped();
    });
  }

  clear() {
    this.#views.clear();
    this.#group = [];
    this.#chosen = undefined;
    this.#hide();
  }

  /** Choose an option of the question that is shown, counted from one; returns whether there was one. */
  choose(number) {
    return this.#views.get(this.#shown)?.choose?.(number) ?? false;
  }

  /** Draw what a ThreadChat's snapshot says. */
  update(snapshot) {
    const group = waitingIn(snapshot);
    const keys = group.map(({ key }) => key);
    if (!keys.some((key) => this.#group.includes(key))) this.#group = [];
    this.#group.push(...keys.filter((key) => !this.#group.includes(key)));
    for (const key of this.#views.keys()) if (!keys.includes(key)) this.#views.delete(key);
    this.#open = group.filter(({ isBusy }) => !isBusy);
    const shown = this.#open.find(({ key }) => key === this.#chosen) ?? this.#open[0] ?? group[0];
    if (!shown) {
      this.#group = [];
      this.#hide();
      return;
    }
    const view = this.#view(shown);
    view.update(shown.isBusy);
    this.#drawHead(shown, view);
    if (this.#shown === shown.key) return;
    const hadFocus = this.#element.contains(document.activeElement);
    this.#shown = shown.key;
    const card = h("div", { className: "ask", "data-testid": "ask", "data-kind": view.kind }, this.#head, view.element);
    this.#element.replaceChildren(card);
    this.#element.hidden = false;
    this.#options.onShown({ kind: view.kind, label: view.label, hadFocus, focus: view.focus });
  }

  #view({ key, part, name, message }) {
    if (!this.#views.has(key)) {
      const doubtful = interruptedIn(message).has(part.toolCallId);
      this.#views.set(key, askView(part, name, { resolve: this.#options.resolve, doubtful }));
    }
    return this.#views.get(key);
  }

  #drawHead({ key }, { kind }) {
    const many = this.#group.length > 1;
    setText(this.#kind, kind);
    setText(this.#place, many ? `${this.#group.indexOf(key) + 1} of ${this.#group.length}` : "");
    this.#back.parentElement.hidden = !many;
    this.#back.disabled = this.#on.disabled = this.#open.length < 2;
    this.#all.hidden = kind !== "Approval" || this.#open.length < 2;
    setText(this.#all, `Accept all ${this.#open.length}`);
  }

  #turn(step) {
    const at = this.#open.findIndex(({ key }) => key === this.#shown);
    this.#chosen = this.#open.at((at + step) % this.#open.length)?.key;
    this.#options.onTurned();
  }

  #acceptAll() {
    for (const { part } of this.#open) this.#options.resolve({ approvalId: part.approval.id, approved: true });
  }

  #hide() {
    if (this.#shown === undefined) return;
    const hadFocus = this.#element.contains(document.activeElement);
    this.#shown = undefined;
    this.#element.hidden = true;
    this.#element.replaceChildren();
    this.#options.onGone(hadFocus);
  }
}
