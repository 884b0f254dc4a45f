/** The files that go with the next message of a thread: uploaded as they are chosen, shown in a row with their names. */

import { button, h, label } from "../dom.js";
import { icon } from "../icons.js";
import { upload } from "./uploads.js";

export class Attachments {
  #client;
  #list;
  #onChange;
  #onError;
  #files = new Map();
  #thread;

  constructor(client, list, { onChange, onError }) {
    this.#client = client;
    this.#list = list;
    this.#onChange = onChange;
    this.#onError = onError;
  }

  /** Show those of a thread. */
  select(thread) {
    this.#thread = thread;
    this.#draw();
  }

  get uploading() {
    return this.#of(this.#thread).some(({ part }) => !part);
  }

  add(files) {
    const thread = this.#thread;
    return Promise.all([...files].map((file) => this.#upload(thread, file)));
  }

  /** Take the parts out that go into a message. */
  take() {
    const parts = this.#of(this.#thread).map(({ part }) => part);
    this.#set(this.#thread, []);
    return parts;
  }

  /** Give back what a refused message had. */
  giveBack(thread, parts) {
    if (parts.length === 0) return;
    this.#set(thread, [...parts.map((part) => entryOf(part.filename, part)), ...this.#of(thread)]);
  }

  /** These went with a message. */
  takeOut(parts) {
    const isOne = ({ part }) => parts.some(({ url }) => url === part?.url);
    this.#set(
      this.#thread,
      this.#of(this.#thread).filter((entry) => !isOne(entry)),
    );
  }

  async #upload(thread, file) {
    const entry = entryOf(file.name);
    this.#set(thread, [...this.#of(thread), entry]);
    const { signal } = entry.leaving;
    try {
      const onProgress = (share) => (entry.bar.value = share);
      const { url, mediaType, filename } = await upload(this.#client, thread, file, { onProgress, signal });
      entry.part = { type: "file", url, mediaType, filename: filename ?? mediaType };
      this.#set(thread, this.#of(thread));
    } catch (error) {
      if (signal.aborted) return;
      this.#remove(thread, entry);
      this.#onError(error);
    }
  }

  #remove(thread, entry) {
    entry.leaving.abort();
    this.#set(
      thread,
      this.#of(thread).filter((other) => other !== entry),
    );
  }

  #of = (thread) => this.#files.get(thread) ?? [];

  #set(thread, files) {
    this.#files.set(thread, files);
    if (thread === this.#thread) this.#draw();
  }

  #draw() {
    const files = this.#of(this.#thread);
    this.#list.hidden = files.length === 0;
    this.#list.replaceChildren(...files.map((entry) => this.#row(entry)));
    this.#onChange();
  }

  #row(entry) {
    const thread = this.#thread;
    const remove = button(icon("close", 14), "icon", undefined, () => this.#remove(thread, entry));
    label(remove, `Remove ${entry.name}`);
    const isHere = entry.part !== undefined;
    const row = h("li", {}, h("span", {}, entry.name), ...(isHere ? [] : [entry.bar]), remove);
    row.classList.toggle("uploading", !isHere);
    return row;
  }
}

function entryOf(name, part) {
  const bar = h("progress", { max: 1, value: 0, "aria-label": `Uploading ${name}` });
  return { name, part, bar, leaving: new AbortController() };
}
