/** A run as lanes over time: its events, attempts, steps and tool calls, and how densely chunks came. No DOM. */

import { bytes, clock, counted, duration, eventLabel, isEnded, number, reasonOf, runLook, statusOf } from "./telling.js";

export const LANES = ["Events", "Attempts", "Steps", "Tools"];

/** More calls side by side than that are drawn over each other. */
const ROWS_MAX = 12;
/** What the runner says before the agent says anything. */
const PREAMBLE = new Set(["start", "data-run", "data-user-message", "data-run-rewind", "start-step"]);
const ENDS = new Set(["run_completed", "run_requires_action", "run_failed", "run_withdrawn"]);
const INTERVALS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000];
const LONG_MS = [60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000, 10_800_000, 43_200_000, 86_400_000];

const OUTCOMES = new Map([
  ["tool-output-available", "done"],
  ["tool-output-error", "failed"],
  ["tool-input-error", "failed"],
  ["tool-output-denied", "denied"],
]);

const STATES = new Map([
  ["done", "done"],
  ["failed", "failed"],
  ["denied", "denied"],
  ["waiting", "waits for a person"],
  ["running", "goes on"],
  ["unfinished", "did not finish"],
  ["died", "its runner died"],
  ["handed back", "handed back by a runner that left"],
  ["void", "counts no more"],
]);

/**
 * Lay out what `GET …/runs/{run}` tells; `now` is by the server's clock. Returns `{from, to, lanes, frames}` in ms.
 *
 * A lane is `{name, rows, items}`; an item is `{key, lane, row, from, to, label, state, facts, sequence, event}`: a
 * point where `from` is `to`. Every item lies within `from` and `to` of the whole.
 */
export function layOut(run, now) {
  const events = run.events.map((event) => ({ ...event, time: timeOf(event.storedAt ?? event.at) })).filter(isTimed);
  const frames = run.frames.map(timed).filter(isTimed);
  const [from, to] = rangeOf(run, [...events, ...frames].map(({ time }) => time), now);
  const attempts = attemptsOf(run, events, frames, to);
  const items = {
    Events: events.map(eventItem),
    Attempts: attempts.map((attempt) => attemptItem(attempt, run)),
    Steps: attempts.flatMap((attempt) => stepsOf(attempt, events, frames)),
    Tools: toolsOf(run, attempts, frames, to),
  };
  const lanes = LANES.map((name) => ({ name, items: items[name] }));
  for (const lane of lanes) {
    for (const item of lane.items) {
      item.lane = lane.name;
      item.from = clamp(item.from, from, to);
      item.to = clamp(item.to, item.from, to);
    }
    lane.items.sort((one, other) => one.from - other.from);
    lane.rows = pack(lane.items);
  }
  return { from, to, lanes, frames };
}

/** A frame with its time in ms. There may be tens of thousands, drawn again and again: they are made so once. */
export const timed = (frame) => ("time" in frame ? frame : { ...frame, time: timeOf(frame.at) });

/** When a run came how far: `[{name, time, after}]`, `after` being what it took since the request. */
export function stagesOf(run) {
  const requested = timeOf(run.requestedAt);
  const first = run.chunksGone ? undefined : run.frames[0];
  const spoke = run.chunksGone ? undefined : run.frames.find(isOutput);
  const stages = [
    ["Requested", run.requestedAt],
    ["Taken up", run.startedAt],
    ["First chunk", first?.at],
    ["First output", spoke?.at],
    [isEnded(run) ? "Ended" : "Ends", run.endedAt],
  ];
  return stages.map(([name, at]) => {
    const time = timeOf(at);
    return { name, time, after: time - requested };
  });
}

const isOutput = ({ kinds, closing }) => !closing && Object.keys(kinds).some((kind) => !PREAMBLE.has(kind));

/** How chunks are spread over `count` equal intervals: `[{chunks, void, frame}]`, `frame` being the first in it. */
export function densityOf({ from, to, frames }, count) {
  const buckets = Array.from({ length: count }, () => ({ chunks: 0, void: 0, frame: undefined }));
  const width = (to - from) / count || 1;
  for (const frame of frames) {
    const bucket = buckets[clamp(Math.floor((frame.time - from) / width), 0, count - 1)];
    bucket.chunks += frame.chunks;
    bucket.void += frame.voidChunks;
    bucket.frame ??= frame;
  }
  return buckets;
}

/** Where the axis is marked, in ms since its beginning: at round times, about `wanted` of them. */
export function ticksOf(length_ms, wanted) {
  const intervals = [...INTERVALS_MS, ...LONG_MS];
  const least = length_ms / Math.max(1, wanted);
  const interval = intervals.find((one) => one >= least) ?? Math.ceil(least / 86_400_000) * 86_400_000;
  return Array.from({ length: Math.floor(length_ms / interval) + 1 }, (_, index) => index * interval);
}

const timeOf = (at) => (at ? Date.parse(at) : NaN);
const isTimed = ({ time }) => Number.isFinite(time);
const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

function rangeOf(run, times, now) {
  const known = [...times, timeOf(run.requestedAt), timeOf(run.endedAt)].filter(Number.isFinite);
  if (!isEnded(run)) known.push(now);
  let [from, to] = [Infinity, -Infinity];
  // Not spread into Math.min: there may be more of them than a call takes arguments.
  for (const time of known) [from, to] = [Math.min(from, time), Math.max(to, time)];
  return Number.isFinite(from) ? [from, Math.max(to, from + 1)] : [now, now + 1];
}

function eventItem(event) {
  const { time, type, sequence } = event;
  const facts = [["Event", type], ["At", clock(time)], ["Sequence", String(sequence)]];
  const isFailed = type === "run_failed" && runLook({ status: "failed", reason: event.reason }) === "failed";
  const state = isFailed ? "failed" : type === "run_requires_action" ? "waiting" : "done";
  return { key: `event ${sequence}`, from: time, to: time, label: eventLabel(event), state, facts, event };
}

function attemptsOf(run, events, frames, to) {
  const starts = events.filter(({ type }) => type === "run_started");
  const end = events.findLast(({ type }) => ENDS.has(type));
  return starts.map((start, index) => {
    const { attempt, time: from, runner_id: runner } = start;
    const next = starts[index + 1];
    const back = events.find((event) => event.type === "run_handed_back" && event.attempt === attempt);
    const made = { attempt, from, runner, goneUntil: undefined };
    if (back) return { ...made, to: back.time, state: "handed back" };
    if (next) return { ...made, to: lastSignOf(start, next, events, frames), state: "died", goneUntil: next.time };
    if (end) return { ...made, to: end.time, state: END_STATES.get(end.type) };
    return { ...made, to: isEnded(run) ? to : Math.max(from, to), state: "running" };
  });
}

const END_STATES = new Map([
  ["run_completed", "done"],
  ["run_requires_action", "waiting"],
  ["run_failed", "failed"],
]);

/** The last that was heard of an attempt that died. */
function lastSignOf(start, next, events, frames) {
  let last = start.time;
  for (const { attempt, time } of events) if (attempt === start.attempt) last = Math.max(last, time);
  for (const { attempt, time } of frames) if (attempt === start.attempt) last = Math.max(last, time);
  return Math.min(last, next.time);
}

function attemptItem({ attempt, from, to, runner, state: end, goneUntil }, run) {
  // What somebody stopped has not failed.
  const isWished = end === "failed" && runLook(run) !== "failed";
  const state = isWished ? "unfinished" : end;
  const failed = isWished ? reasonOf(run) : `failed: ${reasonOf(run) || statusOf(run)}`;
  const how = end === "failed" ? failed : STATES.get(state);
  const facts = [["Runner", String(runner)], ...span(from, to), ["How", how]];
  if (goneUntil !== undefined) facts.push(["Taken over after", duration(goneUntil - to)]);
  return { key: `attempt ${attempt}`, from, to, label: `Attempt ${attempt}`, state, facts, goneUntil };
}

const span = (from, to) => [["From", clock(from)], ["To", clock(to)], ["Took", duration(to - from)]];

function stepsOf({ attempt, from, to, state }, events, frames) {
  const done = events.filter((event) => event.type === "step_completed" && event.attempt === attempt);
  const begun = frames.filter((frame) => frame.attempt === attempt && frame.kinds["start-step"]);
  let boundary = from;
  const items = done.map(({ step, time, usage }) => {
    const first = begun.find((frame) => frame.time >= boundary && frame.time <= time);
    const begin = first?.time ?? boundary;
    boundary = time;
    const used = usage ? [["Tokens by then", tokens(usage)]] : [];
    return stepItem(attempt, step, begin, time, "done", first?.sequence, used);
  });
  // A frame may hold the end of one step and the beginning of the next: their number tells, not their times.
  if (begun.reduce((sum, { kinds }) => sum + kinds["start-step"], 0) > done.length) {
    const last = begun.at(-1);
    const step = (done.at(-1)?.step ?? lastStepBefore(attempt, events)) + 1;
    const how = state === "running" ? "running" : state === "waiting" ? "waiting" : "unfinished";
    const begin = clamp(Math.max(last.time, boundary), from, to);
    items.push(stepItem(attempt, step, begin, to, how, last.sequence, []));
  }
  return items;
}

const lastStepBefore = (attempt, events) =>
  events.findLast((event) => event.type === "step_completed" && event.attempt < attempt)?.step ?? 0;

const tokens = ({ input_tokens: input = 0, output_tokens: output = 0 }) => `${number(input)} in, ${number(output)} out`;

function stepItem(attempt, step, from, to, state, sequence, used) {
  const facts = [...span(from, to), ["Attempt", String(attempt)], ["How", STATES.get(state)], ...used];
  const names = { key: `step ${attempt} ${step}`, label: `Step ${step}`, short: String(step) };
  return { ...names, from, to, state, facts, sequence };
}

function toolsOf(run, attempts, frames, to) {
  const calls = new Map();
  for (const frame of frames) {
    for (const chunk of frame.tools ?? []) {
      const isVoid = chunk.index >= frame.firstIndex + frame.chunks - frame.voidChunks;
      take(calls, chunk, frame, isVoid);
    }
  }
  const names = namesIn(run);
  return [...calls.values()].map((call, index) => {
    const attempt = attempts.find((one) => one.attempt === call.attempt);
    const from = call.given ?? call.from;
    const until = call.to ?? attempt?.to ?? to;
    const state = call.isVoid ? "void" : (call.state ?? (call.asked ? "waiting" : openState(attempt)));
    const facts = [["Call", call.id], ...span(from, Math.max(from, until)), ["How", STATES.get(state)]];
    if (call.given > call.from) facts.push(["Its input took", duration(call.given - call.from)]);
    const label = call.name ?? names.get(call.id) ?? "A tool";
    return { key: `tool ${index}`, from, to: Math.max(from, until), label, state, facts, sequence: call.sequence };
  });
}

const openState = (attempt) => (!attempt || attempt.state === "running" ? "running" : "unfinished");

/** One chunk of a call; what a call of an earlier attempt kept may end in a later one. */
function take(calls, { type, toolCallId: id, toolName: name }, { attempt, time, sequence }, isVoid) {
  let key = `${attempt} ${id}`;
  if (!calls.has(key)) {
    const earlier = [...calls].find(([, call]) => call.id === id && !call.isVoid && call.to === undefined);
    if (earlier && !isVoid) [key] = earlier;
  }
  let call = calls.get(key);
  if (!call) calls.set(key, (call = { id, attempt, from: time, sequence, isVoid }));
  call.name ??= name ?? undefined;
  if (type === "tool-input-available") call.given ??= time;
  if (type === "tool-approval-request") call.asked = true;
  if (!OUTCOMES.has(type)) return;
  call.to = time;
  call.state = OUTCOMES.get(type);
}

/** What the tools are called whose calls began in an earlier run of the same answer. */
function namesIn({ events }) {
  const parts = events.flatMap(({ message }) => message?.parts ?? []);
  const named = parts.filter((part) => part?.toolCallId !== undefined);
  return new Map(named.map((part) => [part.toolCallId, part.toolName ?? String(part.type).replace(/^tool-/, "")]));
}

/** Give each item a row, so that none covers another; returns how many rows there are. */
function pack(items) {
  const ends = [];
  for (const item of items) {
    const isPoint = item.from === item.to;
    let row = isPoint ? 0 : ends.findIndex((end) => end <= item.from);
    if (row < 0) row = Math.min(ends.length, ROWS_MAX - 1);
    ends[row] = Math.max(ends[row] ?? 0, item.to, item.goneUntil ?? 0);
    item.row = row;
  }
  return Math.max(1, ends.length);
}

/** What is said of a bucket of chunks. */
export const densityLabel = ({ chunks, void: gone }) =>
  `${counted(chunks, "chunk")}${gone ? `, ${number(gone)} of them void` : ""}`;

/** What the frames hold together. */
export function amountOf(frames) {
  const sum = { chunks: 0, void: 0, bytes: 0 };
  for (const frame of frames) {
    sum.chunks += frame.chunks;
    sum.void += frame.voidChunks;
    sum.bytes += frame.bytes;
  }
  return `${counted(sum.chunks, "chunk")} in ${counted(frames.length, "frame")}, ${bytes(sum.bytes)}`;
}
