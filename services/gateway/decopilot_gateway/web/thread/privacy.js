/** Who reads the open thread: a lock that says so, and turns. */

import { label, setProperty } from "../dom.js";
import { icon } from "../icons.js";

export class Privacy {
  #button;
  #shown;

  /** `onTurn(isPrivate)`: the reader wants it so. */
  constructor(button, { onTurn }) {
    this.#button = button;
    button.addEventListener("click", () => onTurn(!this.#shown));
  }

  draw(isPrivate, isHidden) {
    setProperty(this.#button, "hidden", isHidden);
    if (isPrivate === this.#shown) return;
    this.#shown = isPrivate;
    this.#button.replaceChildren(icon(isPrivate ? "lock" : "unlock"));
    this.#button.setAttribute("aria-pressed", String(isPrivate));
    label(this.#button, "Private: only you and the owners of the organization read this chat");
  }
}
