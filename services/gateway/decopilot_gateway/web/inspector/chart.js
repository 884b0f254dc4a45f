/** A run's timeline as boxes in lanes: wide and long as it is zoomed, every box reached by the keys. */

import { h } from "../dom.js";
import { clock, duration } from "./telling.js";
import { densityLabel, densityOf, LANES, layOut, ticksOf } from "./timeline.js";

const ROW_PX = 26;
const ZOOM_MAX = 256;
const TICKS = 6;
const BUCKETS = 120;
const BUCKETS_MAX = 1_500;
/** More boxes than that are in the table alone. */
const DRAWN_MAX = 600;
const SVG = "http://www.w3.org/2000/svg";
const LEGEND = [
  ["done", "done"],
  ["running", "goes on"],
  ["waiting", "waits"],
  ["failed", "failed"],
  ["died", "died or unfinished"],
  ["void", "void"],
];

export class Chart {
  element;
  #body = h("div", { className: "chart-body" });
  #axis = h("div", { className: "track" });
  #scroll;
  #detail = h("div", { className: "chart-detail", "data-testid": "chart-detail" });
  #zoomOut;
  #zoomIn;
  #fit;
  #lanes = new Map(LANES.map((name) => [name, h("div", { className: "track", role: "group", "aria-label": name })]));
  #marks = new Map();
  #bars = svg("path", { class: "density-kept" });
  #voidBars = svg("path", { class: "density-void" });
  #density = h("div", { className: "track density", "data-testid": "density" });
  #layout;
  #buckets = [];
  #zoom = 1;
  /** The event whose JSON is shown. */
  #opened;
  #onOpen;

  /** `onOpen(sequence)`: the reader wants to see the chunks from a frame on. */
  constructor(onOpen) {
    this.#onOpen = onOpen;
    this.#zoomOut = button("−", "Zoom out", () => this.#zoomBy(0.5));
    this.#zoomIn = button("+", "Zoom in", () => this.#zoomBy(2));
    this.#fit = button("Fit", "Show the whole run", () => this.#zoomBy(1 / this.#zoom));
    this.#scroll = h("div", { className: "chart-scroll", tabIndex: -1 }, this.#body);
    const drawing = svg("svg", { viewBox: `0 0 ${BUCKETS} 100`, preserveAspectRatio: "none", "aria-hidden": "true" });
    drawing.append(this.#bars, this.#voidBars);
    this.#density.append(drawing);
    const lanes = [...this.#lanes].map(([name, track]) => lane(name, track, name.toLowerCase()));
    this.#body.append(lane("", this.#axis, "axis"), ...lanes, lane("Chunks", this.#density, "chunks"));
    const legend = LEGEND.map(([state, name]) => h("li", { "data-state": state }, name));
    const tools = h("div", { className: "chart-tools" }, this.#zoomOut, this.#zoomIn, this.#fit);
    this.element = h(
      "div",
      { className: "chart", role: "group", "aria-label": "Timeline", "data-testid": "timeline" },
      h("div", { className: "chart-head" }, h("ul", { className: "legend" }, ...legend), tools),
      this.#scroll,
      this.#detail,
    );
    this.#scroll.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.#body.addEventListener("keydown", (event) => this.#press(event));
    this.#body.addEventListener("focusin", ({ target }) => this.#show(this.#markOf(target)?.item));
    // What was opened is read for as long as the reader likes: the pointer may pass over others on its way there.
    this.#body.addEventListener("pointerover", ({ target }) => this.#opened || this.#show(this.#markOf(target)?.item));
    this.#density.addEventListener("pointermove", (event) => this.#opened || this.#showBucket(this.#bucketAt(event)));
    this.#density.addEventListener("click", (event) => {
      const frame = this.#bucketAt(event)?.frame;
      if (frame) this.#onOpen(frame.sequence);
    });
    this.#tellOfUse();
  }

  /** Draw a run, `now` by the server's clock. */
  update(run, now) {
    this.#layout = layOut(run, now);
    const used = new Set();
    let room = DRAWN_MAX;
    for (const { name, items, rows } of this.#layout.lanes) {
      const track = this.#lanes.get(name);
      track.style.height = `${rows * ROW_PX}px`;
      track.parentElement.hidden = items.length === 0;
      for (const item of items.slice(0, Math.max(0, room))) this.#draw(item, track, used);
      room -= items.length;
    }
    for (const [key, { element, gap }] of this.#marks) {
      if (used.has(key)) continue;
      element.remove();
      gap?.remove();
      this.#marks.delete(key);
    }
    this.#rove();
    this.#drawScale();
    return this.#layout;
  }

  #draw(item, track, used) {
    used.add(item.key);
    let mark = this.#marks.get(item.key);
    if (!mark) {
      const element = h("button", { type: "button", className: "mark", tabIndex: -1, "data-testid": "mark" });
      element.addEventListener("click", () => this.#open(item.key));
      element.dataset.key = item.key;
      mark = { element, gap: undefined };
      this.#marks.set(item.key, mark);
    }
    mark.item = item;
    const { element } = mark;
    const isPoint = item.from === item.to && item.lane === "Events";
    element.classList.toggle("point", isPoint);
    element.dataset.state = item.state;
    const text = isPoint ? "" : (item.short ?? item.label);
    if (element.textContent !== text) element.textContent = text;
    element.setAttribute("aria-label", this.#sentence(item));
    element.style.left = this.#percent(item.from - this.#layout.from);
    element.style.width = isPoint ? "" : this.#percent(item.to - item.from);
    element.style.top = `${item.row * ROW_PX}px`;
    if (item.goneUntil > item.to) {
      mark.gap ??= h("span", { className: "gap", "aria-hidden": "true" });
      mark.gap.style.left = this.#percent(item.to - this.#layout.from);
      mark.gap.style.width = this.#percent(item.goneUntil - item.to);
      mark.gap.style.top = `${item.row * ROW_PX}px`;
      if (!mark.gap.parentNode) track.append(mark.gap);
    }
    if (element.parentNode !== track) track.append(element);
  }

  #percent = (ms) => `${(100 * ms) / (this.#layout.to - this.#layout.from)}%`;

  #sentence({ label, from, facts }) {
    const told = facts.map(([name, value]) => `${name} ${value}`).join(", ");
    return `${label}, ${duration(from - this.#layout.from)} after the beginning. ${told}`;
  }

  /** The axis and the chunks, as finely as the zoom lets them be seen. */
  #drawScale() {
    const { from, to } = this.#layout;
    this.#body.style.width = `${100 * this.#zoom}%`;
    const ticks = ticksOf(to - from, TICKS * Math.min(this.#zoom, 32));
    this.#axis.replaceChildren(
      ...ticks.map((ms) => {
        const tick = h("span", { className: "tick" }, ms === 0 ? clock(from) : `+${shortened(duration(ms))}`);
        tick.style.left = this.#percent(ms);
        return tick;
      }),
    );
    this.#buckets = densityOf(this.#layout, Math.min(BUCKETS_MAX, BUCKETS * this.#zoom));
    this.#density.parentElement.hidden = this.#layout.frames.length === 0;
    const most = this.#buckets.reduce((high, { chunks }) => Math.max(high, chunks), 1);
    const wide = BUCKETS / this.#buckets.length;
    const box = (index, count) => {
      const high = count && Math.max(6, (100 * count) / most);
      const [left, width, height] = [index * wide, wide * 0.86, high].map((length) => length.toFixed(3));
      return count ? `M${left} 100v-${height}h${width}v${height}z` : "";
    };
    this.#bars.setAttribute("d", this.#buckets.map(({ chunks }, index) => box(index, chunks)).join(""));
    this.#voidBars.setAttribute("d", this.#buckets.map((bucket, index) => box(index, bucket.void)).join(""));
    this.#zoomOut.disabled = this.#fit.disabled = this.#zoom <= 1;
    this.#zoomIn.disabled = this.#zoom >= ZOOM_MAX;
  }

  /** Zoom around what is in the middle, or around a place in sight. */
  #zoomBy(factor, at_px = this.#scroll.clientWidth / 2) {
    if (!this.#layout) return;
    const zoom = Math.min(ZOOM_MAX, Math.max(1, this.#zoom * factor));
    const place = (this.#scroll.scrollLeft + at_px) / this.#zoom;
    this.#zoom = zoom;
    this.#drawScale();
    this.#scroll.scrollLeft = place * zoom - at_px;
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.#zoomBy(event.deltaY < 0 ? 2 : 0.5, event.clientX - this.#scroll.getBoundingClientRect().left);
  }

  #markOf = (target) => this.#marks.get(target.closest?.(".mark")?.dataset.key);

  #open(key) {
    const { item, element } = this.#marks.get(key);
    const opens = item.event !== undefined && this.#opened !== key;
    element.focus();
    this.#show(item, { opens });
  }

  #press(event) {
    if (event.key === "+" || event.key === "=") return this.#zoomBy(2);
    if (event.key === "-") return this.#zoomBy(0.5);
    const item = this.#markOf(event.target)?.item;
    if (!item || event.ctrlKey || event.metaKey || event.altKey) return undefined;
    const lanes = this.#layout.lanes.filter(({ items }) => items.some(({ key }) => this.#marks.has(key)));
    const here = lanes.findIndex(({ name }) => name === item.lane);
    const drawn = lanes[here].items.filter(({ key }) => this.#marks.has(key));
    const place = drawn.indexOf(item);
    const moves = {
      ArrowRight: () => drawn[place + 1],
      ArrowLeft: () => drawn[place - 1],
      Home: () => drawn[0],
      End: () => drawn.at(-1),
      ArrowDown: () => nearest(lanes[here + 1], item),
      ArrowUp: () => nearest(lanes[here - 1], item),
    };
    if (!(event.key in moves)) return undefined;
    event.preventDefault();
    const next = this.#marks.get(moves[event.key]()?.key);
    if (next) this.#focus(next);
    return undefined;
  }

  #focus({ element }) {
    for (const mark of this.#marks.values()) mark.element.tabIndex = mark.element === element ? 0 : -1;
    element.focus();
    element.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** One box is reached by Tab; the arrows go on from there. */
  #rove() {
    const elements = [...this.#marks.values()].map(({ element }) => element);
    if (!elements.some(({ tabIndex }) => tabIndex === 0) && elements.length) elements[0].tabIndex = 0;
  }

  #show(item, { opens = false } = {}) {
    if (!item) return;
    this.#opened = opens ? item.key : undefined;
    const { label, facts, sequence, event } = item;
    const terms = facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
    const told = [h("strong", {}, label), h("dl", {}, ...terms)];
    if (sequence !== undefined) {
      const go = h("button", { type: "button", className: "quiet", "data-testid": "show-chunks" }, "Show its chunks");
      go.addEventListener("click", () => this.#onOpen(sequence));
      told.push(go);
    }
    if (opens) {
      const { time: _, ...stored } = event;
      const shown = JSON.stringify(stored, null, 2);
      told.push(h("pre", { className: "json", tabIndex: 0, "aria-label": "The event as JSON" }, shown));
    }
    this.#detail.replaceChildren(...told);
  }

  #bucketAt({ clientX }) {
    const { left, width } = this.#density.getBoundingClientRect();
    return this.#buckets[Math.floor(((clientX - left) / width) * this.#buckets.length)];
  }

  #showBucket(bucket) {
    if (!bucket?.frame) return;
    const { time, sequence, attempt } = bucket.frame;
    const facts = [["From", clock(time)], ["Frame", String(sequence)], ["Attempt", String(attempt)]];
    this.#show({ label: densityLabel(bucket), facts });
  }

  #tellOfUse() {
    const use = "Point at a box, or go through them with the arrow keys. + and − zoom; Ctrl and the wheel do, too.";
    this.#detail.replaceChildren(h("span", { className: "soft" }, use));
  }
}

/** A round length of time without the digits that say so. */
const shortened = (text) => text.replace(/(\.\d*?)0+ s$/, "$1 s").replace(". s", " s");

function nearest(lane, { from }) {
  const items = lane?.items ?? [];
  const isNearer = (one, best) => !best || Math.abs(one.from - from) < Math.abs(best.from - from);
  return items.reduce((best, one) => (isNearer(one, best) ? one : best), undefined);
}

const lane = (name, track, kind) =>
  h("div", { className: `lane ${kind}` }, h("span", { className: "lane-name", "aria-hidden": "true" }, name), track);

function button(text, label, onClick) {
  const made = h("button", { type: "button", className: "quiet", title: label, "aria-label": label }, text);
  made.addEventListener("click", onClick);
  return made;
}

function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
