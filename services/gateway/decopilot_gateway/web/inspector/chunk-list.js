/** A run's chunks as a list of any length: only what is in sight is read, and drawn. */

import { h } from "../dom.js";
import { ChunkCache } from "./chunk-cache.js";
import { Entries, isOfKind, kindsOf, VOID } from "./entries.js";
import { number } from "./telling.js";

const ROW_PX = 30;
/** Rows that are drawn above and below what is in sight. */
const MARGIN = 12;
/** Browsers end elements that are much higher. */
const HEIGHT_MAX_PX = 12_000_000;
const PREVIEW_CHARS = 300;
const SHOWN_CHARS = 200_000;
const LEGEND =
  "Struck through: void. Its attempt died behind its last finished step; the next one began there again, and these " +
  "chunks were taken back from every viewer.";

export class ChunkList {
  element;
  #kinds = h("select", { "aria-label": "Kind of chunk", "data-testid": "chunk-kind" });
  #count = h("span", { className: "chunk-count", role: "status", "data-testid": "chunk-count" });
  #rows = h("div", { className: "chunk-rows" });
  #list;
  #legend = h("p", { className: "chunk-legend", "data-testid": "void-legend", hidden: true }, LEGEND);
  #shown = h("pre", { className: "json", tabIndex: 0, "aria-label": "The chunk as JSON", "data-testid": "chunk-json" });
  #detail;
  #detailName = h("span");
  #cache;
  #frames = [];
  #entries = new Entries([]);
  #kind = "";
  #active = 0;
  #opened;
  #drawn = new Map();
  #scheduled = false;
  #onGone;
  #id;

  /** `read`: as a ChunkCache has it; `onGone()`: chunks that were told of are not there any more. */
  constructor(read, onGone) {
    this.#cache = new ChunkCache(read);
    this.#onGone = onGone;
    this.#id = `chunks-${Math.random().toString(36).slice(2)}`;
    this.#list = h(
      "div",
      { className: "chunk-list", tabIndex: 0, role: "listbox", "aria-label": "Chunks", "data-testid": "chunks" },
      this.#rows,
    );
    const close = h("button", { type: "button", className: "quiet" }, "Close");
    close.addEventListener("click", () => (this.#open(undefined), this.#list.focus()));
    this.#detail = h(
      "div",
      { className: "chunk-detail", hidden: true },
      h("div", { className: "chunk-detail-head" }, this.#detailName, close),
      this.#shown,
    );
    const head = h("div", { className: "chunk-head" }, h("label", {}, "Show ", this.#kinds), this.#count);
    this.element = h("div", { className: "chunks" }, head, this.#legend, this.#list, this.#detail);
    this.#kinds.addEventListener("change", () => this.#choose(this.#kinds.value));
    this.#list.addEventListener("scroll", () => this.#schedule(), { passive: true });
    this.#list.addEventListener("keydown", (event) => this.#press(event));
    this.#rows.addEventListener("click", ({ target }) => {
      const row = target.closest("[data-position]");
      if (row) this.#activate(Number(row.dataset.position), { opens: true });
    });
    this.#observer.observe(this.#list);
  }

  #observer = new ResizeObserver(() => this.#schedule());

  close() {
    this.#observer.disconnect();
    this.#cache.clear();
  }

  /** There are these frames by now; with `isAnew` some of those before may be others. */
  update(frames, { isAnew }) {
    this.#frames = frames;
    if (isAnew) this.#cache.clear();
    const gone = frames.reduce((sum, frame) => sum + frame.voidChunks, 0);
    this.#legend.hidden = gone === 0;
    this.#showKinds(gone);
    this.#count_();
    this.#schedule();
  }

  /** Go to the first chunk of a frame. */
  show(sequence) {
    if (this.#kind) this.#choose("");
    this.#activate(this.#entries.positionOf(sequence), { isFirst: true });
    this.#list.focus({ preventScroll: true });
    this.element.scrollIntoView({ block: "nearest" });
  }

  #showKinds(gone) {
    const all = this.#frames.reduce((sum, { chunks }) => sum + chunks, 0);
    const wanted = [["", "all kinds", all], ...(gone ? [[VOID, "void ones", gone]] : [])];
    for (const [kind, count] of kindsOf(this.#frames)) wanted.push([kind, kind, count]);
    const options = new Map([...this.#kinds.options].map((option) => [option.value, option]));
    for (const [kind, name, count] of wanted) {
      const text = `${name} (${number(count)})`;
      const option = options.get(kind) ?? h("option", { value: kind });
      if (option.textContent !== text) option.textContent = text;
      if (!option.parentNode) this.#kinds.append(option);
      options.delete(kind);
    }
    for (const option of options.values()) option.remove();
    this.#kinds.value = this.#kind;
  }

  #choose(kind) {
    this.#kind = kind;
    this.#kinds.value = kind;
    this.#active = 0;
    this.#list.scrollTop = 0;
    this.#open(undefined);
    this.#count_();
    this.#schedule();
  }

  #count_() {
    this.#entries = new Entries(this.#frames, this.#kind);
    this.#count.textContent = `${number(this.#entries.total)} chunk${this.#entries.total === 1 ? "" : "s"}`;
    // The list's height is that of all rows; where that were too much, it is scrolled over in proportion.
    this.#rows.style.height = `${Math.min(HEIGHT_MAX_PX, this.#entries.total * ROW_PX)}px`;
    this.#list.hidden = this.#entries.total === 0;
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => this.#draw());
  }

  /** The entries that are in sight, as positions, and how far down the first one stands. */
  #inSight() {
    const { total } = this.#entries;
    const { scrollTop, clientHeight } = this.#list;
    const whole = total * ROW_PX;
    const height = Math.min(HEIGHT_MAX_PX, whole);
    const most = Math.max(1, height - clientHeight);
    const top = whole > height ? (scrollTop / most) * (whole - clientHeight) : scrollTop;
    const from = Math.max(0, Math.floor(top / ROW_PX) - MARGIN);
    const to = Math.min(total, Math.ceil((top + clientHeight) / ROW_PX) + MARGIN);
    return { from, to, shift: scrollTop - top };
  }

  #draw() {
    this.#scheduled = false;
    if (!this.#list.isConnected || this.#entries.total === 0) {
      this.#rows.replaceChildren();
      this.#drawn.clear();
      return;
    }
    const { from, to, shift } = this.#inSight();
    for (const [position, row] of this.#drawn) {
      if (position >= from && position < to) continue;
      row.remove();
      this.#drawn.delete(position);
    }
    let next = this.#rows.firstChild;
    for (let position = from; position < to; position += 1) {
      let row = this.#drawn.get(position);
      if (!row) this.#drawn.set(position, (row = this.#row(position)));
      if (row === next) next = next.nextSibling;
      else this.#rows.insertBefore(row, next);
      row.style.top = `${position * ROW_PX + shift}px`;
      this.#fill(row, position);
    }
    this.#mark();
    this.#load(from, to);
  }

  async #load(from, to) {
    const frames = this.#entries.framesOf(from, to).filter(({ sequence }) => !this.#cache.get(sequence));
    for (const some of neighbours(frames, this.#frames)) {
      try {
        if (await this.#cache.want(some)) {
          this.#onGone();
          return;
        }
        this.#schedule();
      } catch {
        this.#count.textContent = "These chunks can't be read now; scroll to try again.";
        return;
      }
    }
  }

  #stored(position) {
    const { frame, ordinal } = this.#entries.at(position);
    const chunks = this.#cache.get(frame.sequence);
    return chunks && (this.#kind ? chunks.filter((one) => isOfKind(one, this.#kind)) : chunks)[ordinal];
  }

  #row(position) {
    const columns = ["chunk-index", "chunk-cursor", "chunk-type", "chunk-text"];
    const cells = columns.map((className) => h("span", { className }));
    const row = h("div", { className: "chunk", role: "option", id: `${this.#id}-${position}`, "data-testid": "chunk" });
    row.dataset.position = String(position);
    row.append(...cells);
    return row;
  }

  #fill(row, position) {
    row.setAttribute("aria-posinset", String(position + 1));
    row.setAttribute("aria-setsize", String(this.#entries.total));
    const stored = this.#stored(position);
    const told = stored ? `${this.#kind} ${stored.cursor} ${stored.void}` : "";
    if (row.dataset.told === told) return;
    row.dataset.told = told;
    const [index, cursor, type, text] = row.children;
    row.classList.toggle("loading", !stored);
    if (!stored) {
      for (const cell of row.children) cell.textContent = "";
      text.textContent = "…";
      return;
    }
    const { type: kind, ...rest } = stored.chunk ?? {};
    row.classList.toggle("void", stored.void);
    row.title = stored.void ? "Void: taken back, it counts no more" : "";
    index.textContent = String(stored.index);
    cursor.textContent = stored.cursor;
    type.textContent = String(kind);
    text.textContent = JSON.stringify(rest).slice(0, PREVIEW_CHARS);
  }

  /** Say which row the keys are at, and which is opened. */
  #mark() {
    for (const [position, row] of this.#drawn) {
      row.setAttribute("aria-selected", String(position === this.#active));
      row.classList.toggle("opened", position === this.#opened);
    }
    if (this.#drawn.has(this.#active)) {
      this.#list.setAttribute("aria-activedescendant", `${this.#id}-${this.#active}`);
    } else this.#list.removeAttribute("aria-activedescendant");
  }

  #press(event) {
    const page = Math.max(1, Math.floor(this.#list.clientHeight / ROW_PX) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#activate(this.#active, { opens: true });
    } else if (event.key in steps && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.#activate(this.#active + steps[event.key], { opens: this.#opened !== undefined, stays: true });
    }
  }

  #activate(position, { opens = false, stays = false, isFirst = false } = {}) {
    const { total } = this.#entries;
    if (total === 0) return;
    this.#active = Math.min(Math.max(position, 0), total - 1);
    this.#reveal(isFirst);
    if (opens) this.#open(this.#opened === this.#active && !stays ? undefined : this.#active);
    else if (isFirst) this.#open(undefined);
    this.#schedule();
  }

  #reveal(isFirst) {
    const { total } = this.#entries;
    const { clientHeight, scrollTop } = this.#list;
    const whole = total * ROW_PX;
    const height = Math.min(HEIGHT_MAX_PX, whole);
    const scale = whole > height ? (height - clientHeight) / (whole - clientHeight) : 1;
    const top = this.#active * ROW_PX * scale;
    if (isFirst || top < scrollTop) this.#list.scrollTop = top;
    else if (top + ROW_PX > scrollTop + clientHeight) this.#list.scrollTop = top + ROW_PX - clientHeight;
  }

  async #open(position) {
    this.#opened = position;
    this.#detail.hidden = position === undefined;
    this.#mark();
    if (position === undefined) return;
    let stored = this.#stored(position);
    if (!stored) {
      this.#shown.textContent = "…";
      await this.#load(position, position + 1);
      if (this.#opened !== position) return;
      stored = this.#stored(position);
    }
    if (!stored) return;
    this.#detailName.textContent = `${stored.cursor} · attempt ${stored.attempt}${stored.void ? " · void" : ""}`;
    const text = JSON.stringify(stored.chunk, null, 2);
    const more = text.length - SHOWN_CHARS;
    this.#shown.textContent = more > 0 ? `${text.slice(0, SHOWN_CHARS)}\n… ${number(more)} more characters` : text;
    this.#shown.scrollTop = 0;
  }
}

/** Frames that are to be read, in groups of those that stand next to each other: one request reads a group. */
function neighbours(wanted, frames) {
  const places = new Map();
  if (wanted.length > 1) for (const [index, { sequence }] of frames.entries()) places.set(sequence, index);
  const groups = [];
  let last;
  for (const frame of wanted) {
    const place = places.get(frame.sequence);
    if (groups.length && place === last + 1) groups.at(-1).push(frame);
    else groups.push([frame]);
    last = place;
  }
  return groups;
}
