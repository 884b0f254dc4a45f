/** Answers told again: whoever reads the chunks holds the message. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createFold, foldChunk } from "../src/fold.js";
import { difference, reset, tell } from "../src/retelling.js";
import { answer } from "./making.mjs";

const STEP = { type: "step-start" };
const text = (said, state = "done") => ({ type: "text", text: said, state });
const call = (state, more = {}) => ({ type: "tool-look", toolCallId: "c", state, input: { at: 1 }, ...more });
const types = (chunks) => chunks.map(({ type }) => type);

/** What a reader holds that has held `shown` and is told chunks. */
function read(shown, chunks) {
  const fold = createFold(shown.id, shown);
  for (const chunk of chunks) foldChunk(fold, chunk);
  return fold.message;
}

const empty = answer("msg_a");
const approval = { id: "ap", approved: true };
const MESSAGES = {
  "texts and steps": answer("msg_a", STEP, text("one"), STEP, text("two")),
  "an empty text": answer("msg_a", STEP, text("")),
  "a call that waits": answer("msg_a", STEP, call("input-available")),
  "a call that is done": answer("msg_a", STEP, call("output-available", { output: "seen" })),
  "a call that failed": answer("msg_a", STEP, call("output-error", { errorText: "no" })),
  "a dynamic call": answer("msg_a", STEP, {
    ...{ type: "dynamic-tool", toolName: "look", toolCallId: "c" },
    ...{ state: "output-available", input: { at: 1 }, output: 2 },
  }),
  "a request": answer("msg_a", STEP, call("approval-requested", { approval: { id: "ap" } })),
  "data and a file": answer("msg_a", { type: "data-x", data: 2 }, { type: "file", url: "u", mediaType: "a/b" }),
};

for (const [name, message] of Object.entries(MESSAGES)) {
  test(`a reader that holds nothing is told ${name}`, () => {
    for (const sdk of [5, 6, 7].filter((line) => line > 5 || name !== "a request")) {
      assert.deepEqual(visible(read(empty, difference(empty, message, sdk))), visible(message));
    }
  });

  test(`a reader that holds all of ${name} is told nothing`, () => {
    for (const sdk of [5, 6, 7]) assert.deepEqual(difference(message, message, sdk), []);
  });
}

test("a reader that holds a part is told the rest", () => {
  const shown = answer("msg_a", STEP, text("one"));
  const message = answer("msg_a", STEP, text("one"), STEP, text("two"));
  const told = difference(shown, message, 6);
  assert.deepEqual(types(told), ["start-step", "text-start", "text-delta", "text-end"]);
  assert.deepEqual(visible(read(shown, told)), visible(message));
});

test("what is shown and not in the message can't be told away", () => {
  const shown = answer("msg_a", STEP, text("one"), text("half a th"));
  for (const message of [answer("msg_a", STEP, text("one")), answer("msg_a", STEP, text("one"), text("other"))]) {
    for (const sdk of [5, 6, 7]) assert.equal(difference(shown, message, sdk), undefined);
  }
});

test("a call goes on to its output, and never back", () => {
  const waiting = answer("msg_a", STEP, call("input-available"));
  const done = answer("msg_a", STEP, call("output-available", { output: "seen" }));
  assert.deepEqual(difference(waiting, done, 6), [{ type: "tool-output-available", toolCallId: "c", output: "seen" }]);
  assert.equal(difference(done, waiting, 6), undefined);
});

test("an answer that a reader gave ahead of the message stays", () => {
  const given = answer("msg_a", STEP, call("output-available", { output: "mine" }));
  const waiting = answer("msg_a", STEP, call("input-available"));
  assert.notEqual(difference(given, waiting, 6, given.parts.length), undefined);
});

test("a call that has an output is not announced as one to be made", () => {
  const done = call("output-available", { output: "seen" });
  for (const sdk of [5, 6, 7]) {
    const told = types([...tell([done], sdk)]);
    assert.deepEqual(told, ["tool-input-start", "tool-input-delta", "tool-output-available"]);
  }
});

test("each line is told of an approval as much as it knows", () => {
  const requested = call("approval-requested", { approval: { id: "ap" } });
  const done = call("output-available", { output: "gone", approval });
  const approvals = (part, sdk) => types([...tell([part], sdk)]).filter((type) => type.startsWith("tool-approval"));
  assert.deepEqual([5, 6, 7].map((sdk) => approvals(requested, sdk)), [
    [],
    ["tool-approval-request"],
    ["tool-approval-request"],
  ]);
  const both = ["tool-approval-request", "tool-approval-response"];
  assert.deepEqual([5, 6, 7].map((sdk) => approvals(done, sdk)), [[], [], both]);
});

test("a denied call is an error to the line that knows no denials", () => {
  const denied = call("output-denied", { approval: { id: "ap", approved: false, reason: "not today" } });
  const last = (sdk) => [...tell([denied], sdk)].at(-1);
  assert.deepEqual(last(5), { type: "tool-output-error", toolCallId: "c", errorText: "not today" });
  assert.deepEqual([last(6), last(7)].map(({ type }) => type), ["tool-output-denied", "tool-output-denied"]);
});

test("the step that is being made is taken back and told as the message has it", () => {
  const shown = answer("msg_a", STEP, text("one"), STEP, text("half a th", "streaming"));
  const message = answer("msg_a", STEP, text("one"), STEP, text("other"));
  const { chunks, isAhead } = reset(shown, message, 7);
  assert.deepEqual([chunks[0].type, isAhead], ["reset-step", false]);
  assert.deepEqual(visible(read(shown, chunks)), visible(message));
});

test("a step that began behind what counts has begun already when it comes again", () => {
  const shown = answer("msg_a", STEP, text("one"), STEP, text("half a th", "streaming"));
  const message = answer("msg_a", STEP, text("one"));
  const { chunks, isAhead } = reset(shown, message, 7);
  assert.deepEqual([types(chunks), isAhead], [["reset-step"], true]);
  assert.deepEqual(visible(read(shown, chunks)), visible({ ...message, parts: [...message.parts, STEP] }));
});

test("more than the step that is being made can't be taken back", () => {
  const shown = answer("msg_a", STEP, text("one"), STEP, text("two"), STEP, text("three"));
  assert.equal(reset(shown, answer("msg_a", STEP, text("one")), 7), undefined);
});

test("what the message has in the step before can't be told once the next one has begun", () => {
  const shown = answer("msg_a", STEP, text("one"), STEP, text("half a th", "streaming"));
  assert.equal(reset(shown, answer("msg_a", STEP, text("one"), text("more")), 7), undefined);
});

/** A message without what nobody sees of it: how an input came. */
function visible({ id, parts }) {
  const seen = ({ rawInput, input, ...part }) => part;
  return { id, parts: parts.map(seen) };
}
