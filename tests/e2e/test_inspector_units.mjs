/** The pure modules of the run inspector, without a browser. */

import assert from "node:assert/strict";
import { test } from "node:test";

const INSPECTOR = new URL("../../services/gateway/decopilot_gateway/web/inspector/", import.meta.url);
const { densityOf, LANES, layOut, stagesOf, ticksOf } = await import(new URL("timeline.js", INSPECTOR));
const { Entries, isOfKind, kindsOf, VOID } = await import(new URL("entries.js", INSPECTOR));
const { ChunkCache } = await import(new URL("chunk-cache.js", INSPECTOR));
const { RunSource } = await import(new URL("run-source.js", INSPECTOR));
const { duration } = await import(new URL("telling.js", INSPECTOR));

const BEGIN = Date.parse("2026-03-01T12:00:00Z");
const at = (ms) => new Date(BEGIN + ms).toISOString();

let sequences = 0;
const event = (ms, type, more = {}) => ({ sequence: (sequences += 1), storedAt: at(ms), at: at(ms), type, ...more });
const started = (ms, attempt) => event(ms, "run_started", { attempt, runner_id: `runner-${attempt}` });
const stepped = (ms, attempt, step) => event(ms, "step_completed", { attempt, step, usage: {} });

function frame(ms, attempt, kinds, more = {}) {
  const chunks = Object.values(kinds).reduce((sum, count) => sum + count, 0);
  const place = { sequence: (sequences += 1), attempt, firstIndex: 0, at: at(ms) };
  return { ...place, chunks, bytes: 10 * chunks, void: false, voidChunks: 0, kinds, tools: [], ...more };
}

const tool = (type, id = "c1", toolName = null) => ({ index: 0, type: `tool-${type}`, toolCallId: id, toolName });

function run(status, events, frames, more = {}) {
  const isOver = !["in_progress", "queued"].includes(status);
  const endedAt = isOver ? events.at(-1).storedAt : null;
  const told = { requestedAt: at(0), startedAt: null, endedAt, chunksGone: false, ...more };
  return { status, reason: null, events, frames, ...told };
}

const itemsOf = (layout, name) => layout.lanes.find((lane) => lane.name === name).items;
const briefly = (items) => items.map(({ label, from, to, state }) => [label, from - BEGIN, to - BEGIN, state]);

test("a plain run has one attempt with its steps and calls", () => {
  const events = [event(0, "run_requested"), started(10, 1), stepped(100, 1, 1), stepped(160, 1, 2)];
  events.push(event(170, "run_completed"));
  const frames = [
    frame(20, 1, { start: 1, "data-run": 1 }),
    frame(30, 1, { "start-step": 1 }),
    frame(40, 1, { "tool-input-start": 1 }, { tools: [tool("input-start", "c1", "weather")] }),
    frame(50, 1, { "tool-input-available": 1 }, { tools: [tool("input-available", "c1", "weather")] }),
    frame(90, 1, { "tool-output-available": 1 }, { tools: [tool("output-available")] }),
    frame(120, 1, { "start-step": 1, "text-delta": 3 }),
  ];
  const layout = layOut(run("completed", events, frames), 0);
  assert.deepEqual(layout.lanes.map(({ name }) => name), LANES);
  assert.deepEqual([layout.from - BEGIN, layout.to - BEGIN], [0, 170]);
  assert.deepEqual(briefly(itemsOf(layout, "Attempts")), [["Attempt 1", 10, 170, "done"]]);
  assert.deepEqual(briefly(itemsOf(layout, "Steps")), [["Step 1", 30, 100, "done"], ["Step 2", 120, 160, "done"]]);
  assert.deepEqual(briefly(itemsOf(layout, "Tools")), [["weather", 50, 90, "done"]]);
});

test("an attempt whose runner died ends where it was heard last, and what it left is void", () => {
  const events = [event(0, "run_requested"), started(10, 1), stepped(50, 1, 1), started(5000, 2)];
  events.push(stepped(5100, 2, 2), event(5200, "run_completed"));
  const gone = { void: true, voidChunks: 1 };
  const frames = [
    frame(20, 1, { "start-step": 1 }),
    frame(60, 1, { "start-step": 1 }, gone),
    frame(70, 1, { "tool-input-available": 1 }, { ...gone, tools: [tool("input-available", "c1", "note")] }),
    frame(5010, 2, { "data-run-rewind": 1 }),
    frame(5020, 2, { "start-step": 1 }),
    frame(5030, 2, { "tool-input-available": 1 }, { tools: [tool("input-available", "c1", "note")] }),
    frame(5040, 2, { "tool-output-error": 1 }, { tools: [tool("output-error")] }),
  ];
  const layout = layOut(run("completed", events, frames), 0);
  const attempts = itemsOf(layout, "Attempts");
  assert.deepEqual(briefly(attempts), [["Attempt 1", 10, 70, "died"], ["Attempt 2", 5000, 5200, "done"]]);
  assert.equal(attempts[0].goneUntil - BEGIN, 5000);
  assert.deepEqual(briefly(itemsOf(layout, "Steps")), [
    ["Step 1", 20, 50, "done"],
    ["Step 2", 60, 70, "unfinished"],
    ["Step 2", 5020, 5100, "done"],
  ]);
  assert.deepEqual(briefly(itemsOf(layout, "Tools")), [["note", 70, 70, "void"], ["note", 5030, 5040, "failed"]]);
});

test("a runner that left handed its attempt back, and another began", () => {
  const back = event(40, "run_handed_back", { attempt: 1 });
  const events = [event(0, "run_requested"), started(10, 1), back, started(60, 2)];
  const layout = layOut(run("in_progress", events, []), BEGIN + 100);
  const attempts = [["Attempt 1", 10, 40, "handed back"], ["Attempt 2", 60, 100, "running"]];
  assert.deepEqual(briefly(itemsOf(layout, "Attempts")), attempts);
});

test("a call that waits for a person, and its output in the run that goes on", () => {
  const asked = [event(0, "run_requested"), started(10, 1), event(100, "run_requires_action")];
  const frames = [
    frame(50, 1, { "tool-input-available": 1 }, { tools: [tool("input-available", "c1", "delete")] }),
    frame(60, 1, { "tool-approval-request": 1 }, { tools: [tool("approval-request")] }),
  ];
  const waits = layOut(run("requires_action", asked, frames), 0);
  assert.deepEqual(briefly(itemsOf(waits, "Tools")), [["delete", 50, 100, "waiting"]]);
  const message = { role: "assistant", parts: [{ type: "tool-delete", toolCallId: "c1" }] };
  const goesOn = [event(0, "run_requested"), started(10, 1), event(100, "run_completed", { message })];
  const output = [frame(70, 1, { "tool-output-available": 1 }, { tools: [tool("output-available")] })];
  const went = layOut(run("completed", goesOn, output), 0);
  assert.deepEqual(briefly(itemsOf(went, "Tools")), [["delete", 70, 70, "done"]]);
});

test("a run that waits in line reaches up to now", () => {
  const layout = layOut(run("queued", [event(0, "run_queued")], []), BEGIN + 3_000);
  assert.deepEqual([layout.from, layout.to], [BEGIN, BEGIN + 3_000]);
});

test("the stages of a run whose chunks are gone leave out what only they told", () => {
  const frames = [frame(20, 1, { start: 1, "data-run": 1 }), frame(40, 1, { "text-delta": 1 })];
  const events = [event(0, "run_requested"), started(10, 1), event(90, "run_completed")];
  const whole = run("completed", events, frames, { startedAt: at(10) });
  assert.deepEqual(stagesOf(whole).map(({ after }) => after), [0, 10, 20, 40, 90]);
  const gone = { ...whole, chunksGone: true, frames: frames.slice(-1) };
  assert.deepEqual(stagesOf(gone).map(({ after }) => after), [0, 10, NaN, NaN, 90]);
});

/** A seeded source of chance: the same run every time. */
function chance(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 374_761_393) >>> 0;
    return state % below;
  };
}

const TYPES = ["input-start", "input-available", "input-error", "approval-request", "approval-response"];
TYPES.push("output-available", "output-error", "output-denied");
const EVENTS = ["run_queued", "run_requested", "run_cancel_requested", "interactions_resolved", "of_a_later_version"];
const STATUSES = ["queued", "in_progress", "completed", "requires_action", "failed", "withdrawn", "of_a_later_version"];

/** Anything a log might tell, and more: times out of order, attempts that nobody began, events that nobody knows. */
function anyRun(seed) {
  const below = chance(seed);
  const time = () => below(2) * below(4_000_000) + below(50);
  const events = Array.from({ length: below(8) }, () => event(time(), EVENTS[below(EVENTS.length)]));
  for (let attempt = 1; attempt <= below(4); attempt += 1) {
    events.push(started(time(), attempt));
    for (let step = 0; step < below(5); step += 1) events.push(stepped(time(), attempt, below(6)));
    if (below(5) === 0) events.push(event(time(), "run_handed_back", { attempt }));
  }
  if (below(2)) events.push(event(time(), ["run_completed", "run_failed", "run_requires_action"][below(3)]));
  if (below(9) === 0) events.push({ ...event(0, "run_started", { attempt: 1 }), storedAt: "no time", at: "none" });
  const frames = Array.from({ length: below(30) }, () => {
    const tools = Array.from({ length: below(3) }, () => tool(TYPES[below(TYPES.length)], `c${below(5)}`));
    const made = frame(time(), 1 + below(4), { "start-step": below(2), "text-delta": 1 + below(5) }, { tools });
    return { ...made, voidChunks: below(made.chunks + 1), at: below(20) ? made.at : null };
  });
  const requested = below(9) ? at(time()) : null;
  const told = { startedAt: at(time()), endedAt: below(2) ? at(time()) : null, requestedAt: requested };
  return { status: STATUSES[below(STATUSES.length)], reason: null, events, frames, chunksGone: !below(3), ...told };
}

test("whatever the log tells, nothing has a negative width, and all of it lies within the range", () => {
  for (let seed = 1; seed <= 1_000; seed += 1) {
    const told = anyRun(seed);
    const layout = layOut(told, BEGIN + chance(seed)(9_000_000));
    assert.ok(layout.to > layout.from, `seed ${seed}`);
    for (const lane of layout.lanes) {
      assert.ok(lane.rows >= 1, `seed ${seed}`);
      for (const item of lane.items) {
        const isInside = layout.from <= item.from && item.from <= item.to && item.to <= layout.to;
        assert.ok(isInside, `seed ${seed}: ${JSON.stringify(item)}`);
        assert.ok(item.row >= 0 && item.row < lane.rows, `seed ${seed}`);
      }
      const keys = lane.items.map(({ key }) => key);
      if (lane.name !== "Steps") assert.equal(new Set(keys).size, keys.length, `seed ${seed}`);
    }
    const buckets = densityOf(layout, 37);
    const timed = told.frames.filter(({ at: time }) => time);
    const sum = (all, name) => all.reduce((total, one) => total + one[name], 0);
    assert.equal(sum(buckets, "chunks"), sum(timed, "chunks"));
    assert.equal(sum(buckets, "void"), sum(timed, "voidChunks"));
  }
});

test("calls side by side stand in rows of their own, and a row is used again", () => {
  const calls = [["a", 10, 50], ["b", 20, 30], ["c", 40, 60]];
  const frames = calls.flatMap(([id, from, to]) => [
    frame(from, 1, { "tool-input-available": 1 }, { tools: [tool("input-available", id, id)] }),
    frame(to, 1, { "tool-output-available": 1 }, { tools: [tool("output-available", id)] }),
  ]);
  const events = [event(0, "run_requested"), started(5, 1), event(70, "run_completed")];
  const layout = layOut(run("completed", events, frames), 0);
  assert.deepEqual(itemsOf(layout, "Tools").map(({ label, row }) => [label, row]), [["a", 0], ["b", 1], ["c", 1]]);
});

test("the axis is marked at round times, whatever its length", () => {
  for (const length of [1, 7, 950, 12_000, 3_599_000, 9 * 86_400_000, 400 * 86_400_000]) {
    const ticks = ticksOf(length, 6);
    assert.equal(ticks[0], 0);
    assert.ok(ticks.length <= 8 && ticks.at(-1) <= length, String(length));
  }
});

test("every entry of a list is found in the frame that holds it", () => {
  const below = chance(7);
  const kinds = ["text-delta", "tool-input-start", "__proto__", "constructor"];
  const frames = Array.from({ length: 60 }, () => {
    const held = JSON.parse(`{"${kinds[below(4)]}": ${1 + below(3)}, "start": ${below(2)}}`);
    const made = frame(0, 1, held);
    return { ...made, voidChunks: below(made.chunks + 1) };
  });
  const ofKind = ({ kinds: held }, kind) => (Object.hasOwn(held, kind) ? held[kind] : 0);
  const countOf = (one, kind) => (kind === VOID ? one.voidChunks : kind ? ofKind(one, kind) : one.chunks);
  for (const kind of ["", VOID, "start", "toString", ...kinds]) {
    const entries = new Entries(frames, kind);
    const wanted = frames.flatMap((one) =>
      Array.from({ length: countOf(one, kind) }, (_, ordinal) => [one.sequence, ordinal]),
    );
    assert.equal(entries.total, wanted.length, kind);
    const places = wanted.map((_, position) => entries.at(position));
    const found = places.map(({ frame: one, ordinal }) => [one.sequence, ordinal]);
    assert.deepEqual(found, wanted, kind);
    const seen = new Set(entries.framesOf(3, 9).map(({ sequence }) => sequence));
    assert.deepEqual(seen, new Set(wanted.slice(3, 9).map(([sequence]) => sequence)), kind);
  }
  assert.deepEqual(new Entries([], "").framesOf(0, 0), []);
  assert.ok(isOfKind({ void: true, chunk: { type: "start" } }, VOID));
  const counted = kindsOf(frames).reduce((sum, [, count]) => sum + count, 0);
  assert.equal(counted, frames.reduce((sum, { chunks }) => sum + chunks, 0));
});

/** A log's pages of three chunks each, as the server makes them. */
function pages(sizes) {
  const all = sizes.flatMap((size, index) =>
    Array.from({ length: size }, (_, place) => ({ cursor: `${index + 1}-${place}` })),
  );
  const requests = [];
  const read = async ({ frame: first, behind }) => {
    requests.push(behind ?? first);
    const isThere = ({ cursor }) => (behind ? cursor === behind : Number(cursor.split("-")[0]) >= first);
    const begin = all.findIndex(isThere) + (behind ? 1 : 0);
    const chunks = begin < 0 ? [] : all.slice(begin, begin + 3);
    return { chunks, next: begin >= 0 && begin + 3 < all.length ? chunks.at(-1).cursor : null };
  };
  return { read, requests };
}

test("frames are kept whole, though a page ends within one, and none is read twice", async () => {
  const sizes = [2, 2, 7, 1, 3];
  const { read, requests } = pages(sizes);
  const cache = new ChunkCache(read);
  const frames = sizes.map((_, index) => ({ sequence: index + 1 }));
  assert.equal(await cache.want(frames), false);
  assert.deepEqual(frames.map(({ sequence }) => cache.get(sequence).length), sizes);
  const asked = requests.length;
  assert.equal(await cache.want(frames), false);
  assert.equal(requests.length, asked);
  assert.equal(await cache.want([{ sequence: 9 }]), true);
  assert.equal(cache.get(9), undefined);
});

/** A client of a run whose frames come two at a time; those before a rewind are void once it is there. */
function clientOf(frames, status) {
  const asked = [];
  const open = async (_, { query: { after = 0 } }) => {
    asked.push(after);
    const left = frames.filter(({ sequence }) => sequence > after);
    const next = left.length > 2 ? left[1].sequence : null;
    const body = { ...run(status, [event(0, "run_requested")], left.slice(0, 2)), chunks: 9, next };
    return { headers: new Headers(), json: async () => body };
  };
  return { asked, open };
}

test("a run that was taken over is read page by page, and anew for each time it was taken back", async () => {
  const frames = [1, 2, 3, 4, 5, 6, 7].map((place) => ({
    ...frame(place, 1, place === 4 || place === 6 ? { "data-run-rewind": 1 } : { "text-delta": 1 }),
    sequence: place,
  }));
  const client = clientOf(frames, "completed");
  const told = [];
  const onRead = (read, { isAnew }) => told.push([read.frames.map(({ sequence }) => sequence), read.next, isAnew]);
  await new RunSource(client, "t", "r", { onRead, onError: (error) => assert.fail(error) }).open();
  assert.deepEqual(told.at(-1).slice(0, 2), [[1, 2, 3, 4, 5, 6, 7], null]);
  assert.deepEqual(client.asked, [0, 2, 0, 2, 4, 0, 2, 4, 6]);
});

test("a length of time is said in the unit that fits it", () => {
  const told = [0, 999.4, 999.6, 2_345, 59_994, 59_996, 192_000, 3_600_000, 7_500_000].map(duration);
  const wanted = ["0 ms", "999 ms", "1.00 s", "2.35 s", "60.0 s", "1 min", "3 min 12 s", "1 h", "2 h 5 min"];
  assert.deepEqual(told, wanted);
});
