/** The box and the buttons above the list: which threads it shows. */

import { button } from "../dom.js";

const TYPING_MS = 200;
const NAMES = new Map([
  ["all", "All"],
  ["review", "Needs review"],
  ["running", "Running"],
  ["failed", "Failed"],
  ["archived", "Archived"],
]);
const EMPTY = new Map([
  ["all", "Your chats will be here."],
  ["review", "Nothing waits for you."],
  ["running", "Nothing is running."],
  ["failed", "Nothing has failed."],
  ["archived", "Nothing is archived."],
]);

export class Filters {
  #search;
  #chips = new Map();
  #show;
  #typing;

  /** `show({view?, q?})`: the reader wants to see others; `enter()`: the reader goes on to what was found. */
  constructor({ search, chips }, { show, enter }) {
    this.#search = search;
    this.#show = show;
    for (const [view, name] of NAMES) {
      const chip = button(name, "chip", `filter-${view}`, () => this.choose(view));
      chip.setAttribute("aria-pressed", String(view === "all"));
      this.#chips.set(view, chip);
    }
    chips.append(...this.#chips.values());
    search.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#apply(), TYPING_MS);
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) this.#apply();
      if (event.key === "ArrowDown" && !event.isComposing) {
        event.preventDefault();
        this.#apply();
        enter();
      }
      if (event.key !== "Escape" || event.isComposing) return;
      event.stopPropagation(); // it ends the search, and not the answer
      if (search.value) search.value = "";
      else search.blur();
      this.#apply();
    });
  }

  focus() {
    this.#search.focus();
    this.#search.select();
  }

  choose(view) {
    for (const [name, chip] of this.#chips) chip.setAttribute("aria-pressed", String(name === view));
    this.#show({ view });
  }

  #apply() {
    clearTimeout(this.#typing);
    this.#show({ q: this.#search.value.trim() });
  }
}

/** Why the list is empty. */
export function emptinessOf({ view, q }) {
  if (q) return `No thread is called “${q}”.`;
  return EMPTY.get(view);
}
