/** The list of threads, kept fresh by the org's watch stream. */

import { apiUrl, getThreads } from "./api.js";
import { h } from "./dom.js";
import { Stream } from "./stream.js";

const STATUSES = new Map([
  ["in_progress", "Running"],
  ["requires_action", "Needs review"],
  ["failed", "Failed"],
  ["completed", "Done"],
]);

export class ThreadList {
  #element;
  #threads = [];
  #firstWords = new Map();
  #rows = new Map();
  #current;
  #onError;
  #refreshing;
  #again = false;
  #stream = new Stream({
    url: () => apiUrl("watch", { types: "decopilot.*" }),
    onEvent: ({ event, data }) => this.#hear(event, data),
  });

  constructor(element, onError) {
    this.#element = element;
    this.#onError = onError;
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
        this.#threads = (await getThreads()).filter((thread) => typeof thread?.id === "string");
        this.#draw();
      }
    } catch (error) {
      this.#again = false;
      this.#onError(error);
    }
  }

  #hear(event, data) {
    if (event === "connected") {
      this.refresh(); // what was said while nobody listened
      return;
    }
    if (event !== "decopilot.thread.status" && event !== "decopilot.thread.titled") return;
    let said;
    try {
      said = JSON.parse(data);
    } catch {
      return;
    }
    const thread = this.#threads.find(({ id }) => id === said?.subject);
    if (!thread || this.#refreshing || event !== "decopilot.thread.status") {
      this.refresh();
      return;
    }
    thread.status = said.data?.status;
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
      const row = this.#rows.get(thread.id) ?? createRow(thread);
      this.#rows.set(thread.id, row);
      const there = this.#element.children[index];
      if (there !== row.element) this.#element.insertBefore(row.element, there ?? null);
      row.update(thread, this.titleOf(thread.id), thread.id === this.#current);
    }
  }
}

function createRow({ id }) {
  const title = h("span", { className: "thread-title" });
  const status = h("span", { className: "thread-status" });
  const time = h("span", { className: "thread-time" });
  const link = h(
    "a",
    { href: `#${id}`, className: "thread", "data-testid": "thread", "data-thread-id": id },
    title,
    h("span", { className: "thread-foot" }, status, time),
  );
  return {
    element: h("li", {}, link),
    update(thread, name, current) {
      title.textContent = name;
      status.textContent = STATUSES.get(thread.status) ?? "";
      time.textContent = ago(thread.updatedAt);
      link.dataset.status = STATUSES.has(thread.status) ? thread.status : "unknown";
      if (current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    },
  };
}

function ago(time) {
  const minutes = Math.floor((Date.now() - Date.parse(time)) / 60_000);
  if (!Number.isFinite(minutes)) return "";
  if (minutes < 1) return "now";
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h`;
  return new Date(time).toLocaleDateString();
}
