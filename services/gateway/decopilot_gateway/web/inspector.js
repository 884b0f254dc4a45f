/** The run inspector: what the log holds of a thread's runs, over the page, at an address of its own. */

import { h } from "./dom.js";
import { readRuns } from "./inspector/run-source.js";
import { RunView } from "./inspector/run-view.js";
import { clock, counted, day, duration, isEnded, number, reasonOf, runLook, statusOf } from "./inspector/telling.js";

const RUNNING_MS = 1_000;
const NAMES_RUN = /^#[^/]+\/runs\/./;

/** The page has one inspector; it is made when it is first asked for. */
let inspector;
let styled;

/**
 * Open the inspector over a thread's runs: at `runId`, at the newest run that gave or took the message `messageId`, or
 * at the newest of all. While it is open the address names the run, as `#THREAD/runs/RUN`: at that address the page
 * opens it again, and where the address comes to name none, it closes. Resolves when it is there.
 */
export async function openInspector(client, thread, named = {}) {
  styled ??= loadStyle();
  await styled;
  inspector ??= new Inspector();
  inspector.open(client, thread, named);
}

/** What it looks like is loaded with it; if that can't be read now, it is tried again with the next opening. */
function loadStyle() {
  const link = h("link", { rel: "stylesheet", href: new URL("inspector.css", import.meta.url).href });
  return new Promise((resolve) => {
    link.addEventListener("load", resolve);
    link.addEventListener("error", () => {
      styled = undefined;
      link.remove();
      resolve();
    });
    document.head.append(link);
  });
}

class Inspector {
  #dialog;
  #list = h("ul", { className: "runs", "data-testid": "runs" });
  #more = h("button", { type: "button", className: "quiet", "data-testid": "more-runs", hidden: true }, "Older runs");
  #note = h("p", { className: "runs-note", role: "status", "data-testid": "runs-note" });
  #detail = h("div", { className: "inspected" });
  #client;
  #thread;
  #runs = [];
  #rows = new Map();
  #following;
  #view;
  #shown;
  #reading = new AbortController();

  constructor() {
    const closing = { className: "close", "aria-label": "Close", "data-testid": "close-inspector" };
    const close = h("button", { type: "button", ...closing }, "✕");
    close.addEventListener("click", () => this.close());
    const refresh = h("button", { type: "button", className: "quiet" }, "Refresh");
    refresh.addEventListener("click", () => this.#refresh());
    this.#more.addEventListener("click", () => this.#read(this.#following));
    const side = h("nav", { className: "runs-side", "aria-label": "Runs" }, this.#note, this.#list, this.#more);
    const title = h("h2", { id: "inspector-title", tabIndex: -1, autofocus: true }, "Runs of this thread");
    const head = h("header", { className: "inspector-head" }, title, refresh, close);
    this.#dialog = h(
      "dialog",
      { className: "inspector", "aria-labelledby": "inspector-title", "data-testid": "inspector" },
      head,
      h("div", { className: "inspector-body" }, side, this.#detail),
    );
    this.#dialog.addEventListener("close", () => this.#closed());
    document.body.append(this.#dialog);
    addEventListener("hashchange", () => NAMES_RUN.test(location.hash) || this.close());
    setInterval(() => this.#dialog.open && this.#drawRows(), RUNNING_MS);
  }

  open(client, thread, { messageId, runId }) {
    this.#client = client;
    if (thread !== this.#thread || !this.#dialog.open) this.#forget();
    this.#thread = thread;
    if (!this.#dialog.open) this.#dialog.showModal();
    if (runId !== undefined) this.#select(runId, { isNew: false });
    this.#refresh().then(() => {
      if (runId !== undefined || this.#shown !== undefined) return;
      const named = this.#runs.find((run) => [run.answerId, run.messageId].includes(messageId));
      const shown = named ?? (messageId === undefined ? this.#runs[0] : undefined);
      if (shown) this.#select(shown.runId, { isNew: true });
      else if (this.#runs.length) this.#note.textContent = "No run of this message is known here.";
    });
  }

  close() {
    if (this.#dialog.open) this.#dialog.close();
  }

  #forget() {
    this.#reading.abort();
    this.#reading = new AbortController();
    this.#view?.close();
    this.#view = this.#shown = this.#following = undefined;
    this.#runs = [];
    this.#rows.clear();
    this.#list.replaceChildren();
    this.#detail.replaceChildren();
  }

  #closed() {
    if (this.#dialog.open) return; // by now it is open again
    this.#forget();
    // Where the reader went to another thread, or back, the address says so already.
    if (NAMES_RUN.test(location.hash)) history.replaceState(null, "", `#${this.#thread}`);
  }

  /** Read the newest runs again; older ones that were read stay. */
  async #refresh() {
    this.#note.textContent ||= "Reading…";
    await this.#read();
  }

  async #read(before) {
    const { signal } = this.#reading;
    try {
      const { runs, next } = await readRuns(this.#client, this.#thread, { before, signal });
      if (signal.aborted) return;
      const known = new Set(runs.map(({ runId }) => runId));
      const others = this.#runs.filter(({ runId }) => !known.has(runId));
      this.#runs = before ? [...others, ...runs] : [...runs, ...others];
      if (before || others.length === 0) this.#following = next ?? undefined;
      this.#note.textContent = this.#runs.length ? "" : "The thread has no runs yet.";
      this.#drawRows();
    } catch (error) {
      if (!signal.aborted) this.#note.textContent = error.message;
    }
  }

  /** Show a run; the address names it. With `isNew` the reader may come back from it. */
  #select(runId, { isNew }) {
    if (runId === this.#shown) return;
    this.#view?.close();
    this.#shown = runId;
    const address = `#${this.#thread}/runs/${runId}`;
    if (location.hash !== address) {
      // The first run that is shown is a step of the reader's; among runs the address only follows.
      if (isNew && !NAMES_RUN.test(location.hash)) history.pushState(null, "", address);
      else history.replaceState(null, "", address);
    }
    this.#view = new RunView(this.#client, this.#thread, runId, {
      onChange: (run) => this.#hear(run),
      onRun: (other) => this.#select(other, { isNew: true }),
    });
    this.#detail.replaceChildren(this.#view.element);
    this.#detail.scrollTop = 0;
    this.#view.open();
    this.#drawRows();
  }

  /** The run that is looked at is read again and again; the list says the same of it. */
  #hear(run) {
    const index = this.#runs.findIndex(({ runId }) => runId === run.runId);
    if (index < 0) return;
    const hadEnded = isEnded(this.#runs[index]);
    const { events: _, frames: __, ...told } = run;
    this.#runs[index] = told;
    this.#drawRows();
    // Behind a run that ends another may begin.
    if (isEnded(run) && !hadEnded) this.#refresh();
  }

  #drawRows() {
    this.#more.hidden = this.#following === undefined;
    for (const [index, run] of this.#runs.entries()) {
      let row = this.#rows.get(run.runId);
      if (!row) this.#rows.set(run.runId, (row = runRow(() => this.#select(run.runId, { isNew: true }))));
      if (this.#list.children[index] !== row.element) {
        this.#list.insertBefore(row.element, this.#list.children[index] ?? null);
      }
      row.update(run, run.runId === this.#shown);
    }
  }
}

function runRow(onClick) {
  const status = h("span", { className: "run-status" });
  const when = h("span", { className: "run-when" });
  const what = h("span", { className: "run-what" });
  const button = h("button", { type: "button", className: "run-row", "data-testid": "run-row" }, status, when, what);
  button.addEventListener("click", onClick);
  return {
    element: h("li", {}, button),
    update(run, isShown) {
      const requested = Date.parse(run.requestedAt);
      const took = Date.parse(run.endedAt) - requested;
      const isToday = day(requested) === day(Date.now());
      const told = [
        runLook(run) === run.status ? reasonOf(run) : "",
        took >= 0 ? duration(took) : "",
        run.attempts > 1 ? counted(run.attempts, "attempt") : "",
        run.steps ? counted(run.steps, "step") : "",
        Number.isFinite(run.usage?.totalTokens) ? `${number(run.usage.totalTokens)} tokens` : "",
      ];
      const texts = [
        [status, statusOf(run)],
        [when, isToday ? clock(requested).slice(0, 8) : `${day(requested)} ${clock(requested).slice(0, 5)}`],
        [what, told.filter(Boolean).join(" · ")],
      ];
      for (const [element, text] of texts) if (element.textContent !== text) element.textContent = text;
      status.dataset.status = runLook(run);
      if (isShown) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    },
  };
}
