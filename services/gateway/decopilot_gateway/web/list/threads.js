/** The list of threads: a view of them, searched, page by page, kept fresh by the org's events. */

import { arrange } from "../dom.js";
import { isIn, VIEWS } from "./looks.js";
import { createRow } from "./row.js";

const PAGE = 50;
/** So many the server gives at once. */
const PAGE_MAX = 1_000;
/** A busy org changes its list all the time; it is read no more often than this. */
const PAUSE_MS = 300;

/** Events after which the list is another. */
const CHANGES = new Set([
  "decopilot.thread.status",
  "decopilot.thread.titled",
  "decopilot.thread.forked",
  "decopilot.thread.archived",
  "decopilot.thread.visibility",
  "decopilot.thread.deleted",
]);

export class ThreadList {
  #client;
  #element;
  #options;
  #threads = [];
  #next;
  #wanted = PAGE;
  #asked = { view: "all", q: "" };
  #titles = new Map();
  #firstWords = new Map();
  #rows = new Map();
  #current;
  #deleted = new Set();
  #refreshing;
  #again = false;
  #isRead = false;

  /**
   * - `watch`: where the org's events are heard
   * - `onError(error)`: the list can't be read
   * - `onRead({isEmpty, hasMore})`: it was, and titles may be others
   * - `onRename(thread)`, `onArchive(thread, archived)`, `onDelete(thread)`: the reader wants to
   */
  constructor(client, element, { watch, ...options }) {
    this.#client = client;
    this.#element = element;
    this.#options = options;
    element.addEventListener("keydown", (event) => this.#walk(event));
    watch.subscribe((event) => this.#hear(event));
    setInterval(() => this.#draw(), 60_000);
  }

  select(thread) {
    this.#current = thread;
    this.#draw();
  }

  /** Show what is in a view and has all the words of `q` in its title. */
  show({ view = this.#asked.view, q = this.#asked.q }) {
    if (view === this.#asked.view && q === this.#asked.q) return undefined;
    this.#asked = { view, q };
    this.#wanted = PAGE;
    return this.refresh();
  }

  showMore() {
    this.#wanted = this.#threads.length + PAGE;
    return this.refresh();
  }

  /** What an untitled thread is called here. */
  remember(thread, text) {
    if (!text || this.#firstWords.has(thread)) return;
    this.#firstWords.set(thread, text.trim().split(/\s+/).slice(0, 8).join(" ").slice(0, 60));
    this.#draw();
  }

  /** A thread that is open may stand in no page of this list. */
  learn({ id, title }) {
    if (title) this.#titles.set(id, title);
  }

  /** Go to the first thread that is shown; what is being read is awaited. */
  async focusFirst() {
    await this.#refreshing;
    this.#element.querySelector("a.thread")?.focus();
  }

  titleOf(id) {
    return this.#titles.get(id) || this.#firstWords.get(id) || "New chat";
  }

  /** Give a thread another title. */
  async rename(id, title) {
    await this.#client.renameThread(id, title);
    this.#titles.set(id, title);
    this.#draw();
  }

  /** Put a thread aside, or restore it. */
  async archive(id, archived) {
    await this.#client.archiveThread(id, archived);
    this.#change(id, { archived });
  }

  /** Say who reads a thread: `org` or `private`. */
  async setVisibility(id, visibility) {
    await this.#client.setVisibility(id, visibility);
    this.#change(id, { visibility });
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
        const asked = this.#asked;
        const { threads, next } = await this.#pages();
        if (asked !== this.#asked) continue;
        this.#next = next;
        this.#isRead = true;
        for (const thread of threads) this.learn(thread);
        this.#threads = threads.filter((thread) => !this.#deleted.has(thread.id) && isIn(asked.view, thread));
        this.#draw();
        if (this.#again) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    } catch (error) {
      this.#again = false;
      this.#options.onError(error);
    }
  }

  async #pages() {
    const { view, q } = this.#asked;
    const wanted = this.#wanted;
    const found = [];
    let before;
    do {
      const limit = Math.min(wanted - found.length, PAGE_MAX);
      const query = { ...VIEWS.get(view), q: q || undefined, limit, before };
      const { threads, next } = await this.#client.request("decopilot/threads", { query });
      found.push(...(threads ?? []).filter(({ id }) => typeof id === "string"));
      before = next ?? undefined;
    } while (before !== undefined && found.length < wanted);
    return { threads: found, next: before };
  }

  #hear({ type, subject, data, time }) {
    if (type === "connected") this.refresh(); // what was said while nobody listened
    if (type === "decopilot.thread.deleted") this.#deleted.add(subject);
    if (!CHANGES.has(type)) return;
    const isKnown = this.#threads.some(({ id }) => id === subject);
    if (!isKnown || this.#refreshing || type !== "decopilot.thread.status") {
      this.refresh();
      return;
    }
    this.#change(subject, { status: data?.status, failureReason: data?.reason, updatedAt: time });
  }

  #change(id, change) {
    const changed = this.#threads.map((thread) => (thread.id === id ? { ...thread, ...change } : thread));
    this.#threads = changed.filter((thread) => isIn(this.#asked.view, thread));
    this.#threads.sort((a, b) => Date.parse(b.updatedAt) - Date.parse(a.updatedAt) || 0);
    this.#draw();
  }

  #draw() {
    const ids = new Set(this.#threads.map(({ id }) => id));
    let left = -1;
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      if (row.element.contains(document.activeElement)) {
        left = [...this.#element.children].indexOf(row.element);
        this.#element.focus();
      }
      row.element.remove();
      this.#rows.delete(id);
    }
    const rows = this.#threads.map((thread) => {
      const row = this.#rows.get(thread.id) ?? createRow(thread, this.#options);
      this.#rows.set(thread.id, row);
      row.update(thread, this.titleOf(thread.id), thread.id === this.#current);
      return row.element;
    });
    arrange(this.#element, rows);
    // Who acted on a thread that went is at the next one, and not at what does the same to that.
    if (left >= 0) rows[Math.min(left, rows.length - 1)]?.querySelector("a.thread").focus();
    this.#options.onRead({
      isEmpty: this.#isRead && rows.length === 0,
      hasMore: this.#next !== undefined,
      ...this.#asked,
    });
  }

  /** Up and down go from thread to thread; Tab goes to what can be done with one. */
  #walk(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const links = [...this.#element.querySelectorAll("a.thread")];
    const at = links.findIndex((link) => link.closest("li").contains(document.activeElement));
    links.at(Math.min(links.length - 1, Math.max(0, at + step)))?.focus();
    event.preventDefault();
  }
}
