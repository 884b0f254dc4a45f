/** Where one writes: the text and its draft, the files, and the buttons that send and stop. */

import { label, setProperty } from "../dom.js";
import { Attachments } from "./attachments.js";
import { Drafts, NEW } from "./drafts.js";

const HEIGHT_MAX_PX = 220;

export class Composer {
  #elements;
  #attachments;
  #drafts = new Drafts();
  #thread;
  #isNamed = false;
  #canSend = false;
  #isBusy = false;
  /** Sends what was to be sent before the thread had been read. */
  #due;
  /** Where what was on its way to a deleted thread goes. */
  #successors = new Map();

  /**
   * - `elements`: `form`, `text`, `send`, `stop`, `interrupt`, `files` (an input), `attached` (a list), `drop`, `hints`
   * - `onSubmit({text, files, interrupts})`, `onStop()`: the reader wants to
   * - `onError(error)`: a file could not be uploaded
   */
  constructor(client, elements, { onSubmit, onStop, onError }) {
    this.#elements = elements;
    this.#attachments = new Attachments(client, elements.attached, { onChange: () => this.#show(), onError });
    const { form, text, stop, interrupt, files } = elements;
    const submit = (interrupts) => this.#submit(onSubmit, interrupts);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit(false);
    });
    text.addEventListener("input", () => {
      this.#due = undefined; // who goes on writing has not finished
      this.#changed();
    });
    text.addEventListener("keydown", (event) => {
      // An Enter that ends a composition (Japanese, Chinese, …) belongs to the input method.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      submit(event.ctrlKey || event.metaKey);
    });
    interrupt.addEventListener("click", () => {
      submit(true);
      this.focus();
    });
    stop.addEventListener("click", () => {
      onStop();
      this.focus();
    });
    files.addEventListener("change", () => {
      this.#attachments.add(files.files);
      files.value = "";
      this.focus();
    });
    text.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length === 0) return;
      event.preventDefault();
      this.#attachments.add(event.clipboardData.files);
    });
    this.#takeDropped(elements.drop);
  }

  /** Show what was written for a thread; one that is not named yet has the draft of all new ones. */
  select(thread, { isNamed }) {
    this.#due = undefined;
    this.#canSend = false; // until it is drawn
    this.#thread = thread;
    this.#isNamed = isNamed;
    this.#attachments.select(thread);
    this.write(this.#drafts.get(this.#key));
  }

  /** The thread has its name now. */
  name() {
    this.#drafts.set(NEW, this.#isNamed ? this.#drafts.get(NEW) : "");
    this.#isNamed = true;
    this.#changed();
  }

  get text() {
    return this.#elements.text.value;
  }

  get isEmpty() {
    return this.text.trim() === "";
  }

  get hasFocus() {
    return document.activeElement === this.#elements.text;
  }

  write(text) {
    this.#elements.text.value = text;
    this.#changed();
  }

  focus() {
    this.#elements.text.focus();
  }

  forget(thread) {
    this.#drafts.set(thread, "");
  }

  /** What was on its way to `thread` goes to the one that is shown by now. */
  succeed(thread) {
    this.#successors.set(thread, this.#thread);
  }

  hasSuccessor = (thread) => this.#successors.has(thread);

  /** Give back what a refused message had, `behind` what was given back before and ahead of what was written since. */
  giveBack(addressed, text, files = [], { behind = "" } = {}) {
    const thread = this.#successors.get(addressed) ?? addressed;
    const isShown = thread === this.#thread;
    const written = isShown ? this.text : this.#drafts.get(thread);
    const rest = without(written, behind);
    const both = [rest === undefined ? "" : behind, text, rest ?? written].filter(Boolean).join("\n");
    if (isShown) this.write(both);
    else this.#drafts.set(thread, both);
    this.#attachments.giveBack(thread, files);
  }

  /** What was given back is not needed here, unless somebody has changed it. */
  takeOut(text) {
    const rest = without(this.text, text);
    if (rest !== undefined) this.write(rest);
  }

  /** Draw what a ThreadChat's snapshot allows. */
  update({ isActive, runId, isStopping, pending, loaded, deleted }) {
    const { text, stop } = this.#elements;
    this.#canSend = loaded && !deleted;
    this.#isBusy = isActive && !deleted;
    stop.hidden = !this.#isBusy;
    stop.disabled = isStopping || runId === undefined;
    label(stop, isStopping ? "Stopping…" : "Stop (Esc)");
    text.disabled = deleted;
    const idle = pending.length > 0 ? "Decide above, or go on without" : "Message Decopilot";
    setProperty(text, "placeholder", this.#isBusy ? "Send the next message" : idle);
    this.#show();
    if (this.#canSend) this.#due?.();
  }

  get #key() {
    return this.#isNamed ? this.#thread : NEW;
  }

  #submit(onSubmit, interrupts) {
    if (this.isEmpty) return;
    this.#due = this.#canSend ? undefined : () => this.#submit(onSubmit, interrupts);
    if (!this.#canSend || this.#attachments.uploading) return;
    const { text } = this;
    this.write("");
    onSubmit({ text, files: this.#attachments.take(), interrupts: interrupts && this.#isBusy });
  }

  #changed() {
    if (this.#thread !== undefined) this.#drafts.set(this.#key, this.text);
    this.#show();
    const { text } = this.#elements;
    text.style.height = "auto";
    text.style.height = `${Math.min(text.scrollHeight, HEIGHT_MAX_PX)}px`;
  }

  #show() {
    const { send, interrupt, hints } = this.#elements;
    send.disabled = !this.#canSend || this.isEmpty || this.#attachments.uploading;
    label(send, this.#isBusy ? "Send when the answer is done" : "Send");
    interrupt.hidden = !this.#isBusy || this.isEmpty;
    hints.idle.hidden = this.#isBusy;
    hints.busy.hidden = !this.#isBusy;
  }

  /** Files that are dropped anywhere on the page go with the next message. */
  #takeDropped(overlay) {
    const hasFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
    addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      overlay.hidden = false;
    });
    addEventListener("dragleave", ({ relatedTarget }) => (overlay.hidden ||= relatedTarget === null));
    addEventListener("drop", (event) => {
      overlay.hidden = true;
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.#attachments.add(event.dataTransfer.files);
      this.focus();
    });
  }
}

/** What follows on a beginning; undefined where that is not how it begins. */
function without(text, beginning) {
  if (text === beginning) return "";
  return text.startsWith(`${beginning}\n`) ? text.slice(beginning.length + 1) : undefined;
}
