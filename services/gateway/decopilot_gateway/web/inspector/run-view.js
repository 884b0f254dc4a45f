/** One run: what is known of it, its timeline, the same as a table, and its chunks or the message that stayed. */

import { h } from "../dom.js";
import { Chart } from "./chart.js";
import { ChunkList } from "./chunk-list.js";
import { readChunks, RunSource } from "./run-source.js";
import { clock, counted, day, duration, isEnded, number, runLook, toldOf } from "./telling.js";
import { amountOf, stagesOf } from "./timeline.js";

/** More rows than that would weigh on the tab; the JSON has them all. */
const ROWS_MAX = 1_000;
const SHOWN_CHARS = 200_000;
const TABLE = "The timeline as a table";
/** A trace is looked at where an operator said, and only there. */
const LINK = /^https?:\/\//i;

export class RunView {
  element = h("div", { className: "run", "data-testid": "run" });
  #client;
  #thread;
  #runId;
  #run;
  #source;
  #options;
  #closing = new AbortController();
  #status = h("span", { className: "run-status", "data-testid": "run-status" });
  #error = h("p", { className: "run-error", role: "alert", "data-testid": "run-error", hidden: true });
  #facts = h("dl", { className: "facts", "data-testid": "run-facts" });
  #stages = h("ol", { className: "stages", "data-testid": "stages" });
  #table = h("tbody");
  #tableNote = h("p", { className: "soft", hidden: true });
  #amount = h("p", { className: "soft", "data-testid": "amount" });
  #gone = h("p", { className: "gone", "data-testid": "chunks-gone", hidden: true });
  #message = h("div", { className: "stored-message", "data-testid": "stored-message", hidden: true });
  #save = h("button", { type: "button", className: "quiet", "data-testid": "save-json" }, "Save as JSON");
  #chart;
  #chunks;
  #told = "";

  /** `onChange(run)`: it goes on, or has ended; `onRun(runId)`: the reader wants to see another run. */
  constructor(client, thread, runId, options) {
    this.#client = client;
    this.#thread = thread;
    this.#runId = runId;
    this.#options = options;
    this.#chart = new Chart((sequence) => this.#chunks.show(sequence));
    this.#chunks = new ChunkList(
      (place) => readChunks(client, thread, runId, { ...place, signal: this.#closing.signal }),
      () => this.#run.chunksGone || this.#source.again(),
    );
    this.#source = new RunSource(client, thread, runId, {
      onRead: (run, how) => this.#show(run, how),
      onError: (error) => this.#tellError(error),
    });
    this.#save.addEventListener("click", () => this.#download());
    const names = ["After", "What", "Took", "More"];
    const columns = names.map((name) => h("th", { scope: "col" }, name));
    const head = h("thead", {}, h("tr", {}, ...columns));
    const table = h("table", { "data-testid": "timeline-table" }, head, this.#table);
    this.element.append(
      h("header", { className: "run-head" }, h("h3", {}, "Run "), copied(runId, "run id"), this.#status, this.#save),
      this.#error,
      this.#facts,
      h("h4", {}, "Timeline"),
      this.#stages,
      this.#chart.element,
      h("details", { className: "twin" }, h("summary", {}, TABLE), this.#tableNote, scrolled(table)),
      h("h4", {}, "Chunks"),
      this.#amount,
      this.#gone,
      this.#message,
      this.#chunks.element,
    );
    this.element.setAttribute("aria-busy", "true");
  }

  open() {
    this.#source.open();
  }

  close() {
    this.#source.close();
    this.#closing.abort();
    this.#chunks.close();
  }

  #tellError(error) {
    this.#error.hidden = false;
    this.#error.textContent = error.message;
    this.element.setAttribute("aria-busy", "false");
  }

  #show(run, how) {
    this.#run = run;
    this.#error.hidden = true;
    this.element.setAttribute("aria-busy", String(run.next !== null));
    this.#status.dataset.status = runLook(run);
    this.#status.textContent = toldOf(run);
    this.#showFacts(run);
    const layout = this.#chart.update(run, this.#source.now);
    this.#showStages(run);
    this.#showTable(layout);
    this.#showChunks(run, how);
    this.#options.onChange(run);
  }

  #showFacts(run) {
    const { usage, trace } = run;
    const asked = run.events.find(({ config }) => config)?.config ?? {};
    const facts = [
      ["Model", run.model ?? "the agent's own"],
      ["Tier", run.tier],
      ["Agent", run.agentId],
      ["Mode", run.mode],
      ["Tools", asked.tool_approval_level === "readonly" ? "ask before changes" : asked.tool_approval_level],
      ["Asked by", run.userId],
      ["On", `${day(Date.parse(run.requestedAt))} ${clock(Date.parse(run.requestedAt))}`],
      ["Attempts", String(run.attempts)],
      ["Steps", String(run.steps)],
      ["Tokens", isKnown(usage) && `${number(usage.inputTokens)} in, ${number(usage.outputTokens)} out`],
      ["Goes on with", run.continues && this.#runLink(run.continues)],
      ["Regenerates", run.regenerates && h("code", {}, run.regenerates)],
      ["Trace", trace && traceOf(trace)],
      ["Why", runLook(run) === "failed" && run.events.findLast(({ error_text: text }) => text)?.error_text],
    ];
    const known = facts.filter(([, value]) => value);
    const told = JSON.stringify([run.attempts, run.steps, usage, run.status, known.length]);
    // What is read, or copied, stays as it is while nothing is new.
    if (told === this.#told) return;
    this.#told = told;
    this.#facts.replaceChildren(...known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }

  #runLink(runId) {
    const link = h("button", { type: "button", className: "run-link" }, runId);
    link.addEventListener("click", () => this.#options.onRun(runId));
    return link;
  }

  #showStages(run) {
    const gone = run.chunksGone ? "chunks are gone" : "";
    const stages = stagesOf(run).map(({ name, time, after }, index) => {
      const isKnown = Number.isFinite(time);
      const told = index === 0 ? clock(time) : isKnown ? `+${duration(after)}` : gone && index < 4 ? gone : "–";
      return h("li", { className: isKnown ? "reached" : "" }, h("span", {}, name), h("b", {}, told));
    });
    this.#stages.replaceChildren(...stages);
  }

  #showTable({ from, lanes }) {
    const items = lanes.flatMap((lane) => lane.items).sort((one, other) => one.from - other.from);
    const more = items.length - ROWS_MAX;
    this.#tableNote.hidden = more <= 0;
    this.#tableNote.textContent = `${counted(more, "more row")}: save the run as JSON to see all.`;
    for (const [index, item] of items.slice(0, ROWS_MAX).entries()) {
      const took = item.to > item.from ? duration(item.to - item.from) : "";
      const facts = item.facts.map(([name, value]) => `${name}: ${value}`).join(" · ");
      const told = [`+${duration(item.from - from)}`, `${item.lane.replace(/s$/, "")}: ${item.label}`, took, facts];
      const row = this.#table.rows[index] ?? this.#table.appendChild(h("tr", {}, ...told.map(() => h("td"))));
      for (const [column, text] of told.entries()) {
        if (row.cells[column].textContent !== text) row.cells[column].textContent = text;
      }
    }
    while (this.#table.rows.length > Math.min(items.length, ROWS_MAX)) this.#table.lastElementChild.remove();
  }

  #showChunks(run, how) {
    const { frames, chunksGone } = run;
    this.#amount.hidden = frames.length === 0;
    const cut = run.isCut ? " These are the first; there are more." : "";
    this.#amount.textContent = `${amountOf(frames)}.${cut}`;
    this.#gone.hidden = !chunksGone;
    const ended = run.events.findLast(({ message }) => message?.role === "assistant");
    this.#gone.textContent = goneText(run, ended);
    this.#message.hidden = !chunksGone || !ended;
    if (!this.#message.hidden && this.#message.childElementCount === 0) {
      this.#message.append(...ended.message.parts.map(partView));
    }
    // What a purge leaves is the frame that closes the run.
    this.#chunks.element.hidden = frames.length === 0;
    this.#chunks.update(frames, how);
  }

  /** All there is of the run, with the chunks that are left of it. */
  async #download() {
    if (!this.#run) return;
    const { isCut: _, next: __, ...run } = this.#run;
    run.frames = run.frames.map(({ time: ___, ...frame }) => frame);
    const chunks = [];
    this.#save.disabled = true;
    try {
      let behind;
      do {
        const signal = this.#closing.signal;
        const page = await readChunks(this.#client, this.#thread, this.#runId, { behind, frame: 0, signal });
        for (const chunk of page.chunks) chunks.push(chunk);
        behind = page.next ?? undefined;
        this.#save.textContent = `Reading… ${number(chunks.length)}`;
      } while (behind);
      saveAs(`${this.#runId}.json`, JSON.stringify({ threadId: this.#thread, ...run, chunkList: chunks }, null, 2));
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#tellError(error);
    } finally {
      this.#save.disabled = false;
      this.#save.textContent = "Save as JSON";
    }
  }
}

/** Of a run that was ended from outside nobody may know what it used. */
const isKnown = (usage) => Number.isFinite(usage?.inputTokens) && Number.isFinite(usage?.outputTokens);

function goneText(run, ended) {
  const left = run.frames.length ? " Below is the frame that closes the run; it stays." : "";
  const kept = ended ? "What they added up to is kept as this message:" : "They added up to no message.";
  return isEnded(run) ? `The run's chunks are gone: they are purged some time after its end.${left} ${kept}` : "";
}

/** A part of a message, its JSON below it. */
function partView(part) {
  const said = part?.text ?? part?.errorText ?? part?.state ?? "";
  const summary = h("summary", {}, h("code", {}, String(part?.type)), " ", h("span", {}, String(said).slice(0, 200)));
  const text = JSON.stringify(part, null, 2);
  const more = text.length - SHOWN_CHARS;
  const shown = more > 0 ? `${text.slice(0, SHOWN_CHARS)}\n… ${number(more)} more characters` : text;
  return h("details", { className: "part" }, summary, h("pre", { className: "json", tabIndex: 0 }, shown));
}

function traceOf({ id, url }) {
  const told = copied(id, "trace id");
  if (typeof url === "string" && LINK.test(url)) {
    const outside = { target: "_blank", rel: "noopener noreferrer", "data-testid": "trace-link" };
    told.append(" ", h("a", { href: url, ...outside }, "Open"));
  }
  return told;
}

/** Text with a button that copies it. */
function copied(text, name) {
  const label = `Copy the ${name}`;
  const button = h("button", { type: "button", className: "copy", title: label, "aria-label": label });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.dataset.copied = "yes";
    } catch {
      // Not every page may write there: then the text is selected, to be copied by hand.
      getSelection().selectAllChildren(button.previousElementSibling);
    }
    setTimeout(() => delete button.dataset.copied, 1_500);
  });
  return h("span", { className: "copied" }, h("code", {}, text), button);
}

const REGION = { className: "table-scroll", tabIndex: 0, role: "region", "aria-label": TABLE };
const scrolled = (table) => h("div", REGION, table);

function saveAs(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
