/** The list of threads, kept fresh by the org's watch stream. */

import { Stream } from "../client/stream.js";
import { h } from "../dom.js";

const LOOKS = new Map([
  ["in_progress", "Running"],
  ["requires_action", "Needs review"],
  ["failed", "Failed"],
  ["completed", "Done"],
  ["stopped", "Stopped"],
  ["replaced", "Replaced"],
]);
/** Runs that ended because somebody wished it: nothing is wrong with them. */
const WISHED = new Map([
  ["cancelled", "stopped"],
  ["superseded", "replaced"],
]);

/** Events after which the list is another. */
const CHANGES = new Set([
  "decopilot.thread.status",
  "decopilot.thread.titled",
  "decopilot.thread.forked",
  "decopilot.thread.deleted",
]);

export class ThreadList {
  #client;
  #element;
  #threads = [];
  #firstWords = new Map();
  #rows = new Map();
  #current;
  #deleted = new Set();
  #options;
  #refreshing;
  #again = false;
  #stream;

  /**
   * - `onError(error)`: the list can't be read
   * - `onRead()`: it was, and titles may be others
   * - `onEvent(type, said)`: something happened to a thread of the org; `connected` where that may have been missed
   * - `onRename(thread)`, `onDelete(thread)`: the reader wants to
   */
  constructor(client, element, options) {
    this.#client = client;
    this.#element = element;
    this.#options = options;
    this.#stream = new Stream({
      connect: (signal) => client.watch({ types: "decopilot.*" }, signal),
      onEvent: ({ event, data }) => this.#hear(event, data),
    });
    setInterval(() => this.#draw(), 60_000);
  }

  open() {
    this.refresh();
    this.#stream.open();
  }

  close = () => this.#stream.close();
  wake = () => this.#stream.wake();

  select(thread) {
    this.#current = thread;
    this.#draw();
  }

  /** What an untitled thread is called here. */
  remember(thread, text) {
    if (!text || this.#firstWords.has(thread)) return;
    this.#firstWords.set(thread, text.trim().split(/\s+/).slice(0, 8).join(" ").slice(0, 60));
    this.#draw();
  }

  titleOf(id) {
    return this.#threads.find((thread) => thread.id === id)?.title || this.#firstWords.get(id) || "New chat";
  }

  /** Give a thread another title. */
  async rename(id, title) {
    await this.#client.renameThread(id, title);
    const thread = this.#threads.find((known) => known.id === id);
    if (thread) thread.title = title;
    this.#draw();
  }

  /** Delete a thread; the list that is read next may still have it. */
  async delete(id) {
    await this.#client.deleteThread(id);
    this.#deleted.add(id);
    this.#threads = this.#threads.filter((thread) => thread.id !== id);
    this.#draw();
  }

  /** Read the list again. What changes while it is being read may be missing in it, so then once more. */
  async refresh() {
    this.#again = true;
    this.#refreshing ??= this.#read().finally(() => (this.#refreshing = undefined));
    return this.#refreshing;
  }

  async #read() {
    try {
      while (this.#again) {
        this.#again = false;
        const threads = await this.#client.getThreads();
        this.#threads = threads.filter(({ id }) => typeof id === "string" && !this.#deleted.has(id));
        this.#draw();
        this.#options.onRead();
      }
    } catch (error) {
      this.#again = false;
      this.#options.onError(error);
    }
  }

  #hear(event, data) {
    let said;
    try {
      said = JSON.parse(data);
    } catch {
      return;
    }
    this.#options.onEvent(event, said);
    if (event === "connected") this.refresh(); // what was said while nobody listened
    if (event === "decopilot.thread.deleted") this.#deleted.add(said?.subject);
    if (!CHANGES.has(event)) return;
    const thread = this.#threads.find(({ id }) => id === said?.subject);
    if (!thread || this.#refreshing || event !== "decopilot.thread.status") {
      this.refresh();
      return;
    }
    thread.status = said.data?.status;
    thread.failureReason = said.data?.reason;
    thread.updatedAt = said.time;
    this.#threads.sort((a, b) => Date.parse(b.updatedAt) - Date.parse(a.updatedAt) || 0);
    this.#draw();
  }

  #draw() {
    const ids = new Set(this.#threads.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    for (const [index, thread] of this.#threads.entries()) {
      const row = this.#rows.get(thread.id) ?? createRow(thread, this.#options);
      this.#rows.set(thread.id, row);
      const there = this.#element.children[index];
      if (there !== row.element) this.#element.insertBefore(row.element, there ?? null);
      row.update(thread, this.titleOf(thread.id), thread.id === this.#current);
    }
  }
}

/** How a thread's last run stands, as the list shows it. */
export function lookOf({ status, failureReason }) {
  const look = (status === "failed" && WISHED.get(failureReason)) || status;
  return LOOKS.has(look) ? look : "unknown";
}

function createRow({ id }, { onRename, onDelete }) {
  const title = h("span", { className: "thread-title" });
  const status = h("span", { className: "thread-status" });
  const time = h("span", { className: "thread-time" });
  const link = h(
    "a",
    { href: `#${id}`, className: "thread", "data-testid": "thread", "data-thread-id": id },
    title,
    h("span", { className: "thread-foot" }, status, time),
  );
  const rename = action("✎", "rename-thread", () => onRename(id));
  const remove = action("✕", "delete-thread", () => onDelete(id));
  return {
    element: h("li", { className: "thread-row" }, link, h("span", { className: "thread-actions" }, rename, remove)),
    update(thread, name, current) {
      title.textContent = name;
      const look = lookOf(thread);
      status.textContent = LOOKS.get(look) ?? "";
      time.textContent = ago(thread.updatedAt);
      link.dataset.status = look;
      rename.title = "Rename";
      rename.setAttribute("aria-label", `Rename “${name}”`);
      remove.title = "Delete";
      remove.setAttribute("aria-label", `Delete “${name}”`);
      if (current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    },
  };
}

function action(sign, testId, onClick) {
  const button = h("button", { type: "button", "data-testid": testId }, sign);
  button.addEventListener("click", onClick);
  return button;
}

function ago(time) {
  const minutes = Math.floor((Date.now() - Date.parse(time)) / 60_000);
  if (!Number.isFinite(minutes)) return "";
  if (minutes < 1) return "now";
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h`;
  return new Date(time).toLocaleDateString();
}
