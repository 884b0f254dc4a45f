/** Where one writes: the text and its draft, the files, what came back of what was sent, and the buttons. */

import { label, setProperty } from "../dom.js";
import { Attachments } from "./attachments.js";
import { Drafts, NEW } from "./drafts.js";
import { joined, Outbox, without } from "./outbox.js";

const HEIGHT_MAX_PX = 220;

export class Composer {
  #elements;
  #attachments;
  #drafts;
  #thread;
  #isNamed = false;
  #canSend = false;
  #isBusy = false;
  /** Sends what was to be sent before the thread had been read. */
  #due;
  /** Where what was on its way to a deleted thread goes. */
  #successors = new Map();

  /**
   * - `owner`: who writes here, whose drafts and whose `outbox` are kept
   * - `elements`: `form`, `text`, `send`, `stop`, `interrupt`, `files` (an input), `attached` (a list), `drop`, `hints`
   * - `onSubmit({id, text, files, interrupts})`: a message is to be sent, again if it has an id; `onStop()`: a run is to end
   * - `onError(error)`: a file could not be uploaded
   */
  constructor(client, owner, elements, { onSubmit, onStop, onError }) {
    this.#elements = elements;
    this.#drafts = new Drafts(owner);
    this.outbox = new Outbox(owner);
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
    if (text !== this.text) this.#due = undefined; // what was to be sent is not what stands here now
    this.#elements.text.value = text;
    this.#changed();
  }

  focus() {
    this.#elements.text.focus();
  }

  forget(thread) {
    this.#drafts.set(thread, "");
    this.outbox.empty(thread);
  }

  /** What was on its way to `thread` goes to the one that is shown by now. */
  succeed(thread) {
    this.#successors.set(thread, this.#thread);
  }

  hasSuccessor = (thread) => this.#successors.has(thread);

  /** Give back what was on its way when a page was left: drafts outlive that by themselves, what was attached does not. */
  recover() {
    for (const sent of this.outbox.all) {
      if (sent.isBack) this.#attachments.giveBack(sent.thread, sent.files);
      else this.giveBack(sent);
    }
  }

  /** Give back a message that was sent; from now on it is known `as` that. */
  giveBack({ thread, id, text, files }, as = id) {
    this.insert(thread, text, files);
    this.outbox.giveBack(id, as);
  }

  /** Put a text, and files, behind what was given back before and ahead of what has been written since. */
  insert(addressed, text, files) {
    const thread = this.#successors.get(addressed) ?? addressed;
    const [written, behind] = [this.#written(thread), this.#textBack(addressed)];
    const since = without(written, behind);
    const all = since === undefined ? joined(text, written) : joined(behind, text, since);
    if (thread === this.#thread) this.write(all);
    else this.#drafts.set(thread, all);
    this.#attachments.giveBack(thread, files);
  }

  /** What was given back is not needed here; where somebody has changed it, it stays. */
  takeOut({ thread, id, text, files }) {
    const ahead = this.#textBack(thread, id);
    const since = without(this.text, joined(ahead, text));
    this.outbox.settle(id);
    if (since === undefined) return;
    this.write(joined(ahead, since));
    this.#attachments.takeOut(files);
  }

  /** Whether what was given back still stands here. */
  holdsBack(thread) {
    const text = this.#textBack(thread);
    return text !== "" && without(this.#written(thread), text) !== undefined;
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

  /** What stands here of messages that were sent, up to one of them. */
  #textBack(thread, upTo) {
    const back = this.outbox.back(thread);
    const end = back.findIndex(({ id }) => id === upTo);
    return joined(...(end < 0 ? back : back.slice(0, end)).map(({ text }) => text));
  }

  #written = (thread) => (thread === this.#thread ? this.text : this.#drafts.get(thread));

  get #key() {
    return this.#isNamed ? this.#thread : NEW;
  }

  #submit(onSubmit, interrupts) {
    this.#due = undefined;
    if (this.isEmpty) return;
    this.#due = this.#canSend ? undefined : () => this.#submit(onSubmit, interrupts);
    if (!this.#canSend || this.#attachments.uploading) return;
    const { text } = this;
    this.write("");
    const messages = this.outbox.take(this.#thread, { text, files: this.#attachments.take() });
    const first = interrupts && this.#isBusy ? messages[0] : undefined;
    for (const message of messages) onSubmit({ ...message, interrupts: message === first });
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
