/** How long chunks take until they are painted: what is counted, what is told of it, and how well clocks are known. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Beacon } from "../src/beacon.js";
import { DecopilotClient, ThreadChat } from "../src/index.js";
import { ServerClock } from "../src/server-clock.js";
import { EventParser } from "../src/sse.js";
import { until } from "./counting.mjs";

const DELTA = { type: "text-delta", id: "t", delta: "a" };
const AHEAD_MS = 3_600_000;
/** A page that is drawn when a test says so. */
let page;

class Page extends EventTarget {
  hidden = false;
  frames = new Map();
  #count = 0;

  ask = (callback) => {
    this.frames.set((this.#count += 1), callback);
    return this.#count;
  };
  cancel = (number) => this.frames.delete(number);

  /** One frame, and the task behind it. */
  async frame() {
    const asked = [...this.frames.values()];
    this.frames.clear();
    for (const callback of asked) callback();
    // As the task itself goes: a timer may be ahead of it.
    for (let round = 0; round < 2; round += 1) {
      const { port1, port2 } = new MessageChannel();
      await new Promise((resolve) => {
        port1.onmessage = resolve;
        port2.postMessage(round);
      });
      port1.close();
    }
  }

  show(isShown) {
    this.hidden = !isShown;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

beforeEach(() => {
  page = new Page();
  const leaving = new EventTarget();
  Object.assign(globalThis, {
    document: page,
    requestAnimationFrame: page.ask,
    cancelAnimationFrame: page.cancel,
    addEventListener: leaving.addEventListener.bind(leaving),
    removeEventListener: leaving.removeEventListener.bind(leaving),
    leave: () => leaving.dispatchEvent(new Event("pagehide")),
  });
});

afterEach(() => {
  for (const name of ["document", "requestAnimationFrame", "cancelAnimationFrame", "addEventListener", "leave"]) {
    delete globalThis[name];
  }
  delete globalThis.removeEventListener;
});

const here = () => performance.timeOrigin + performance.now();
const there = () => here() + AHEAD_MS;
const answered = (at) => new Response(null, { headers: at === undefined ? {} : { "Decopilot-Time": String(at) } });

/** A beacon that is attached, what it reported, and what it told. */
function attached({ isDrawn, time = there } = {}) {
  const reports = [];
  const told = [];
  const asked_at = here();
  const client = {
    reportPaints: async (report) => {
      reports.push(report);
      return answered(there());
    },
  };
  const beacon = new Beacon({ client, thread: "t", isDrawn, onPaint: (paint) => told.push(paint) });
  beacon.attached(asked_at, answered(time()));
  return { beacon, reports, told };
}

test("a chunk is counted once its frame is painted, by the server's clock", async () => {
  const { beacon, reports, told } = attached();
  const stored_at = there();
  beacon.came(stored_at, DELTA, "run_1");
  beacon.told();
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(told.length, 0);
  await page.frame();
  assert.equal(told.length, 1);
  const [{ runId, duration_ms, error_ms }] = told;
  assert.equal(runId, "run_1");
  assert.ok(duration_ms >= 300 - error_ms && duration_ms <= there() - stored_at + error_ms);
  leave();
  assert.equal(reports.length, 1);
  const [{ threadId, errorMs, paints }] = reports;
  assert.equal(threadId, "t");
  assert.ok(Number.isInteger(errorMs) && errorMs >= error_ms);
  assert.deepEqual(paints, [{ ms: Number(duration_ms.toPrecision(2)), chunks: 1 }]);
  beacon.close();
});

test("nothing is measured where the server names no time, and nothing is listened to", async () => {
  const { beacon, reports, told } = attached({ time: () => undefined });
  beacon.came(there(), DELTA, "run_1");
  beacon.told();
  assert.equal(page.frames.size, 0);
  leave();
  beacon.close();
  assert.deepEqual([reports, told], [[], []]);
});

test("what is caught up with, comes to a hidden tab, has no date or is no token is not counted", async () => {
  const { beacon, reports, told } = attached();
  beacon.came(there() - 60_000, DELTA, "run_1");
  beacon.came(undefined, DELTA, "run_1");
  beacon.came(there(), DELTA, undefined);
  beacon.came(there(), { type: "finish-step" }, "run_1");
  page.show(false);
  beacon.came(there(), DELTA, "run_1");
  const hidden = there();
  await new Promise((resolve) => setTimeout(resolve, 20));
  page.show(true);
  beacon.came(hidden, DELTA, "run_1");
  beacon.told();
  await page.frame();
  assert.deepEqual([told, reports], [[], []]);
  // What was told and not painted when the tab was hidden is forgotten.
  await new Promise((resolve) => setTimeout(resolve, 20));
  beacon.came(there(), DELTA, "run_1");
  beacon.told();
  page.show(false);
  page.show(true);
  await page.frame();
  assert.deepEqual(told, []);
  beacon.close();
});

test("what is drawn in a later frame is counted in that one", async () => {
  let isDrawn = false;
  const { beacon, told } = attached({ isDrawn: () => isDrawn });
  beacon.came(there(), DELTA, "run_1");
  beacon.told();
  await page.frame();
  await page.frame();
  assert.equal(told.length, 0);
  isDrawn = true;
  await page.frame();
  assert.equal(told.length, 1);
  beacon.close();
  assert.equal(page.frames.size, 0);
});

test("a report is small however much was painted, and is sent when it is full", async () => {
  const { beacon, reports } = attached();
  for (let number = 0; number < 2_500; number += 1) beacon.came(there(), DELTA, "run_1");
  beacon.told();
  await page.frame();
  assert.equal(reports.length, 2);
  beacon.close();
  const counted = reports.map(({ paints }) => paints.reduce((sum, { chunks }) => sum + chunks, 0));
  assert.deepEqual(counted, [1_000, 1_000, 500]);
  assert.ok(reports.every(({ paints }) => paints.length <= 331));
});

test("the bounds of a clock hold whatever the way there and back takes", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    let state = seed;
    const chance = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
    const ahead = (chance() - 0.5) * 1e6;
    const clock = new ServerClock();
    let at = 1e12;
    for (let count = 0; count < 20; count += 1) {
      const [out, back] = [chance() * 200, chance() * 200];
      if (chance() < 0.5) clock.exchanged(at, at + ahead + out, at + out + back);
      else clock.heard(at + ahead, at + back);
      at += 1_000 * chance();
      if (clock.error_ms === Infinity) continue;
      assert.ok(Math.abs(clock.ahead_ms - ahead) <= clock.error_ms + 1e-3, `seed ${seed}`);
      assert.ok(clock.error_ms <= 200 + 1e-3);
    }
  }
});

test("a clock that is set is known anew from the next exchange", () => {
  const clock = new ServerClock();
  clock.exchanged(1_000, 5_010, 1_020);
  assert.deepEqual([clock.ahead_ms, clock.error_ms], [4_000, 10]);
  clock.exchanged(2_000, 2_010, 2_020);
  assert.deepEqual([clock.ahead_ms, clock.error_ms], [0, 10]);
});

test("a broker whose clock is ahead of the gateway's makes the error larger and no duration negative", () => {
  const clock = new ServerClock();
  clock.exchanged(1_000, 1_001, 1_002);
  clock.heard(1_008, 1_003);
  assert.ok(clock.ahead_ms >= 5);
  assert.ok(clock.error_ms > 1.9);
});

test("a date is a comment of its event, and of no other", () => {
  const text = ": stored 1700000000000.5\n\nid: 1-0\n: stored 1700000000001.5\ndata: {}\n\n: stored x\ndata: {}\n\n";
  assert.deepEqual(new EventParser().push(text), [
    { id: "1-0", event: "message", data: "{}", stored_at: 1_700_000_000_001.5 },
    { id: undefined, event: "message", data: "{}" },
  ]);
});

test("whoever wants no beacon has none, though the server dates its chunks", async () => {
  for (const [paint, count] of [
    [false, 0],
    [undefined, 1],
  ]) {
    const sent = [];
    const told = [];
    const chunks = [{ type: "start", messageId: "a1" }, { type: "data-run", data: { runId: "run_1", attempt: 1 }, transient: true }];
    const fetch = async (url, init) => {
      if (init?.method === "POST") {
        sent.push([url.pathname, init.keepalive]);
        return new Response(null, { status: 204 });
      }
      const all = [...chunks, { type: "text-start", id: "t" }, DELTA];
      const date = there() + 50;
      const events = all.map((chunk, index) => `id: 1-${index}\n: stored ${date}\ndata: ${JSON.stringify(chunk)}\n\n`);
      const body = new ReadableStream({
        start(stream) {
          stream.enqueue(new TextEncoder().encode(events.join("")));
          init.signal.addEventListener("abort", () => stream.error(init.signal.reason));
        },
      });
      return new Response(body, { headers: { "Content-Type": "text/event-stream", "Decopilot-Time": String(there()) } });
    };
    const client = new DecopilotClient({ url: "http://gateway/", org: "local", fetch });
    const chat = new ThreadChat({ client, thread: "t", fresh: true, paint, onPaint: (one) => told.push(one) });
    const leave = chat.subscribe(() => {});
    await until(() => chat.getSnapshot().messages[0]?.parts[0]?.text === "a", "the text");
    await new Promise((resolve) => setTimeout(resolve, 50));
    await page.frame();
    leave();
    await until(() => chat.getSnapshot().connection.state === "idle", "the end");
    assert.deepEqual(sent, Array(count).fill(["/local/decopilot/paint", true]));
    assert.equal(told.length, count);
  }
});
