/** The fold: chunks of one run become one message. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { answer, call, fold, rewind, transient } from "./making.mjs";

test("keys that name prototypes stay mere keys", () => {
  const hostile = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}');
  const { message } = fold(
    { type: "start", messageId: "msg_a", messageMetadata: hostile },
    { type: "message-metadata", messageMetadata: hostile },
    { type: "tool-input-available", toolCallId: "__proto__", toolName: "constructor", input: hostile },
    { type: "tool-output-available", toolCallId: "__proto__", output: hostile },
    { type: "text-delta", id: "__proto__", delta: "a" },
    { type: "text-delta", id: "constructor", delta: "b" },
    { type: "toString" },
  );
  assert.equal({}.polluted, undefined);
  assert.deepEqual(Object.keys(message.metadata), ["__proto__", "constructor"]);
  assert.deepEqual(
    message.parts.map(({ type, text }) => [type, text]),
    [["tool-constructor", undefined], ["text", "a"], ["text", "b"]],
  );
});

test("a finish closes what is open and keeps its reason", () => {
  const made = fold(
    { type: "text-start", id: "t" },
    { type: "error", errorText: "no" },
    { type: "finish", finishReason: "error" },
  );
  assert.deepEqual([made.done, made.finishReason, made.errorText], [true, "error", "no"]);
  assert.deepEqual(made.message.parts, [{ type: "text", text: "", state: "done" }]);
});

test("a rewind replaces the message and the fold goes on from it", () => {
  const whole = answer("msg_a", { type: "step-start" }, call("input-available"));
  const made = fold(
    { type: "text-start", id: "t" },
    { type: "text-delta", id: "t", delta: "half done" },
    rewind(whole),
    { type: "text-delta", id: "t", delta: "anew" },
    { type: "tool-output-available", toolCallId: "c", output: 1 },
  );
  assert.deepEqual(made.message.parts, [
    { type: "step-start" },
    call("output-available", { output: 1 }),
    { type: "text", text: "anew", state: "streaming" },
  ]);
  assert.equal(whole.parts[1].state, "input-available", "the chunk's own message is left alone");
});

test("a rewind that holds no message changes nothing", () => {
  const data = [undefined, {}, { message: { id: "msg_a" } }, { message: { id: "msg_a", parts: [null] } }];
  const chunks = data.map((one) => transient("data-run-rewind", one));
  const made = fold({ type: "text-delta", id: "t", delta: "a" }, ...chunks);
  assert.equal(made.message.parts[0].text, "a");
});

test("a call id that a later step uses again is another call", () => {
  const begin = { type: "tool-input-available", toolCallId: "c", toolName: "delete" };
  const { message } = fold(
    { ...begin, input: 1 },
    { type: "start-step" },
    { ...begin, input: 2 },
    { type: "tool-output-available", toolCallId: "c", output: "second" },
  );
  assert.deepEqual(
    message.parts.filter(({ toolCallId }) => toolCallId).map(({ input, output }) => [input, output]),
    [[1, undefined], [2, "second"]],
  );
});
