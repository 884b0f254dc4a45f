/**
 * A gateway for threads that are told beforehand (tests/support/stories.py), over HTTP, and with every fault that a network
 * has: what it is asked it answers late, not at all, or with a refusal; streams are cut, and told again; frames are purged
 * or lost. It keeps to docs/protocol.md all the while, and knows nothing of this library.
 */

import { createServer } from "node:http";

/** A repeatable source of chance (mulberry32). */
export function chance(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  return { next, below: (many) => Math.floor(next() * many), is: (likelihood) => next() < likelihood };
}

const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const order = (cursor) => cursor.split("-").map(Number);
const isAfter = (one, other) => {
  const [[a, b], [c, d]] = [order(one), order(other)];
  return a > c || (a === c && b > d);
};

/** One thread whose story is known: how much of it has happened, and who hears it. */
class ToldThread {
  #viewers = new Set();
  #open = new Set();

  constructor(story, { calm = false } = {}) {
    this.chance = chance(story.seed);
    this.calm = calm;
    this.runs = story.runs.map((run) => ({ ...run, state: "unknown", isPurged: false, lost: new Set() }));
    for (const run of this.runs) {
      run.chunks = run.frames.flatMap(({ seq, chunks, is_void: isVoid }) =>
        chunks.map((chunk, index) => ({ cursor: `${seq}-${index}`, seq, chunk, isVoid })),
      );
      run.told = 0;
      run.end = run.chunks.at(-1).cursor;
    }
    const holed = this.runs.filter(() => !calm && this.chance.is(0.12));
    for (const run of holed) run.lost.add(run.frames[this.chance.below(run.frames.length - 1)].seq);
  }

  /** Streams that are open. */
  get connections() {
    return this.#open.size;
  }

  get isOver() {
    return this.runs.every(({ state }) => state === "ended");
  }

  get resets() {
    return this.runs.some(({ lost, isPurged }) => lost.size > 0 || isPurged);
  }

  /** Take a message: a repeat is the same run. */
  post(messageId) {
    const run = this.runs.find(({ question }) => question?.id === messageId);
    if (run.state === "unknown") {
      run.state = "queued";
      this.#next();
    }
    return this.#receipt(run);
  }

  /** Whether the log has it that a run waits, or waited, for this. */
  isAsking(approvalId) {
    return this.runs.some(({ approval, state }) => approval === approvalId && state === "ended");
  }

  /** Take a verdict. */
  resolve(approvalId) {
    const at = this.runs.findIndex(({ approval }) => approval === approvalId);
    const run = this.runs[at + 1] ?? this.runs[at];
    if (run.state === "unknown") {
      run.state = "queued";
      this.#next();
    }
    return this.#receipt(run);
  }

  #receipt(run) {
    const status = { queued: "queued", active: "in_progress", ended: run.status }[run.state];
    return { taskId: "t", runId: run.id, messageId: run.question?.id ?? run.answer, status, cursor: this.#before(run) };
  }

  #before(run) {
    return this.runs[this.runs.indexOf(run) - 1]?.end ?? "0-0";
  }

  /** The first that waits begins when nothing goes on; who is asked first waits first. */
  #next() {
    const isBusy = this.runs.some(({ state }) => state === "active");
    const at = this.runs.findIndex(({ state }) => state !== "ended");
    if (isBusy || at < 0 || this.runs[at].state !== "queued") return;
    this.runs[at].state = "active";
    this.#tell(this.runs[at]);
  }

  async #tell(run) {
    await later(this.chance.below(4));
    while (run.told < run.chunks.length) {
      run.told = Math.min(run.chunks.length, run.told + 1 + this.chance.below(8));
      this.#wake();
      await later(this.chance.is(0.3) ? 1 + this.chance.below(3) : 0);
    }
    // The log says so a moment after the last chunk.
    await later(this.chance.below(6));
    run.state = "ended";
    this.#next();
    if (this.calm || !this.chance.is(0.3)) return;
    await later(this.chance.below(10));
    run.isPurged = true;
  }

  get #ended() {
    return this.runs.filter(({ state }) => state === "ended").length;
  }

  history() {
    const active = this.runs.find(({ state }) => state === "active");
    const last = this.runs[this.#ended - 1];
    const asked = active?.question ? [active.question] : [];
    const messages = [...(last?.history ?? []).filter(({ id }) => id !== active?.question?.id), ...asked];
    const isAsking = !active && last?.approval && this.runs[this.#ended]?.state !== "ended";
    return {
      messages,
      cursor: last?.end ?? "0-0",
      status: active ? "in_progress" : (last?.status ?? "completed"),
      pending: isAsking ? [{ kind: "approval", id: last.approval, toolCallId: `call-${last.id}`, toolName: "delete" }] : [],
    };
  }

  thread() {
    const active = this.runs.find(({ state }) => state === "active");
    const { status, pending } = this.history();
    return { id: "t", status, pending, activeRun: active ? { runId: active.id, attempt: 1, cancelRequested: false } : null };
  }

  queue() {
    const waiting = this.runs.filter(({ state, question }) => state === "queued" && question);
    return waiting.map(({ id, question }) => ({ messageId: question.id, runId: id, message: question, interrupts: false }));
  }

  #wake() {
    for (const wake of this.#viewers) wake();
  }

  /** Tell all behind a cursor to a response, until it is cut. */
  async attach(response, cursor) {
    this.#open.add(response);
    response.on("close", () => this.#open.delete(response));
    const { chance, calm } = this;
    let left = calm || chance.is(0.35) ? Infinity : chance.below(40);
    const write = (id, chunk) => response.write(`id: ${id}\ndata: ${JSON.stringify(chunk)}\n\n`);
    const reset = (to, reason) =>
      write(to, { type: "data-thread-reset", data: { cursor: to, reason }, transient: true });
    let at = cursor;
    response.write("retry: 1\n\n");
    if (at === undefined) {
      // From the start of the active run, or the next one.
      at = this.runs[this.#ended - 1]?.end ?? "0-0";
      response.write(`id: ${at}\n\n`);
    } else if (!calm && chance.is(0.1)) {
      // Some of what was told comes twice.
      const known = this.runs.flatMap(({ chunks, isPurged }) => (isPurged ? [] : chunks)).filter((one) => !isAfter(one.cursor, at));
      for (const { cursor: again, chunk } of known.slice(-3)) write(again, chunk);
    }
    let wake = () => {};
    const told = () => wake();
    this.#viewers.add(told);
    response.once("close", () => this.#viewers.delete(told) && told());
    for (let turn; !response.destroyed && !response.writableEnded; await turn) {
      turn = new Promise((resolve) => (wake = resolve));
      let isBehind = true;
      while (isBehind) {
        isBehind = false;
        for (const run of this.runs) {
          if (!isAfter(run.end, at)) continue;
          if (run.isPurged && !isAfter(at, this.#before(run))) {
            reset((at = run.end), "hole");
            isBehind = true;
            break;
          }
          // More may be told while these are on their way: it comes before the next run all the same.
          const known = run.chunks.slice(0, run.told);
          const rewound = known.findIndex(({ chunk }) => chunk.data?.attempt === 2);
          for (const [place, { cursor: here, seq, chunk, isVoid }] of known.entries()) {
            if (!isAfter(here, at)) continue;
            at = here;
            if (isVoid && place < rewound) continue;
            if (run.lost.has(seq)) {
              at = run.chunks.findLast((one) => one.seq === seq).cursor;
              reset(at, "hole");
              isBehind = true;
              break;
            }
            write(here, chunk);
            left -= 1;
            if (left < 0) return cut(response, chance);
            if (!calm && chance.is(0.05)) await later(chance.below(3));
            if (response.destroyed) return undefined;
          }
          if (isBehind || known.length < run.chunks.length) break;
        }
      }
    }
    return undefined;
  }
}

function cut(response, chance) {
  const how = chance.below(3);
  if (how === 0) response.destroy();
  else if (how === 1) response.end();
  else response.end("data: [DONE]\n\n");
}

/** Serves stories, each as the thread of its own name; `close()` ends it. */
export class Gateway {
  threads = new Map();
  /** The most streams that one thread ever had at a time. */
  peak = new Map();
  #server;

  async listen() {
    this.#server = createServer((request, response) => this.#answer(request, response).catch(() => response.destroy()));
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.#server.address().port}/`;
    return this;
  }

  close() {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(resolve));
  }

  add(name, story, options) {
    const thread = new ToldThread(story, options);
    this.threads.set(name, thread);
    return thread;
  }

  /** The sockets that are open. */
  sockets() {
    return new Promise((resolve) => this.#server.getConnections((_, count) => resolve(count)));
  }

  async #answer(request, response) {
    const { pathname, searchParams } = new URL(request.url, this.url);
    const [, , , kind, name, what] = pathname.split("/");
    const thread = this.threads.get(kind === "attach" ? name : name);
    const { chance, calm } = thread;
    const body = await json(request);
    if (!calm && chance.is(0.06)) return refuse(response, chance.is(0.5) ? 503 : 429, { "Retry-After": "0" });
    if (!calm && chance.is(0.04)) return response.destroy();
    if (kind === "attach") {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      const attached = thread.attach(response, request.headers["last-event-id"] ?? searchParams.get("cursor") ?? undefined);
      this.peak.set(name, Math.max(this.peak.get(name) ?? 0, thread.connections));
      return attached;
    }
    const isEarly = what === "interactions" && request.method === "POST" && !thread.isAsking(body.resolutions[0].approvalId);
    if (isEarly) return refuse(response, 404, {}, "interaction_not_found");
    const answer = this.#asked(thread, request.method, what, body);
    const status = request.method === "GET" ? 200 : 202;
    // What was read or taken is told late, or not at all.
    if (!calm) await later(chance.below(8));
    if (!calm && chance.is(0.07)) return response.destroy();
    response.writeHead(status, { "Content-Type": "application/json" });
    return response.end(JSON.stringify(answer));
  }

  #asked(thread, method, what, body) {
    if (method === "POST" && what === "messages") return thread.post(body.messages[0].id);
    if (method === "POST" && what === "interactions") return thread.resolve(body.resolutions[0].approvalId);
    if (what === "messages") return JSON.parse(JSON.stringify(thread.history()));
    if (what === "queue") return { queue: thread.queue() };
    return thread.thread();
  }
}

async function json(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return parts.length > 0 ? JSON.parse(Buffer.concat(parts).toString()) : undefined;
}

function refuse(response, status, headers, code = status === 503 ? "broker_unavailable" : "too_many_streams") {
  response.writeHead(status, { "Content-Type": "application/problem+json", ...headers });
  response.end(JSON.stringify({ code }));
}
