/** The pure modules of the page, without a browser. */

import assert from "node:assert/strict";
import { test } from "node:test";

const WEB = new URL("../../services/gateway/decopilot_gateway/web/", import.meta.url);
const { createFold, foldChunk } = await import(new URL("fold.js", WEB));
const { Conversation, isAfter } = await import(new URL("conversation.js", WEB));
const { EventParser } = await import(new URL("sse.js", WEB));

function fold(...chunks) {
  const made = createFold("msg_a");
  for (const chunk of chunks) foldChunk(made, chunk);
  return made;
}

const question = (id, text = "hi") => ({ id, role: "user", parts: [{ type: "text", text }] });
const transient = (type, data) => ({ type, data, transient: true });
const run = (answer, message, runId) => [
  { type: "start", messageId: answer },
  transient("data-run", { runId, attempt: 1 }),
  transient("data-user-message", { message }),
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: "yes" },
  { type: "text-end", id: "t" },
  { type: "finish", finishReason: "stop" },
];

function feed(conversation, chunks, first = 1) {
  return chunks.map((chunk, index) => conversation.accept(`${first + index}-0`, chunk));
}

const ids = ({ messages }) => messages.map(({ id }) => id);

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

test("the question that the tab sent itself is shown once, and ahead of its answer in a passive tab", () => {
  const [mine, passive] = [new Conversation(), new Conversation()];
  mine.offer(question("msg_1"));
  for (const conversation of [mine, passive]) {
    feed(conversation, run("msg_a", question("msg_1"), "run_1"));
    assert.deepEqual(ids(conversation), ["msg_1", "msg_a"]);
  }
});

test("a 202 that its run has overtaken leaves nothing to wait for", () => {
  const conversation = new Conversation();
  const message = question("msg_1");
  conversation.offer(message);
  feed(conversation, run("msg_a", message, "run_1"));
  conversation.confirm(message, { runId: "run_1", status: "in_progress", cursor: "0-0" });
  assert.equal(conversation.active, false);
  assert.equal(conversation.cursor, "7-0");
});

test("a refused message is taken back, one that the stream has shown is not", () => {
  const conversation = new Conversation();
  conversation.offer(question("msg_1"));
  assert.equal(conversation.withdraw(question("msg_1")), true);
  conversation.offer(question("msg_2"));
  conversation.accept("1-0", transient("data-user-message", { message: question("msg_2") }));
  assert.equal(conversation.withdraw(question("msg_2")), false);
  assert.deepEqual(ids(conversation), ["msg_2"]);
});

test("after a reset the chunks that the history holds already are passed over", () => {
  const conversation = new Conversation();
  const chunks = run("msg_a", question("msg_1"), "run_1");
  feed(conversation, chunks.slice(0, 4));
  assert.equal(conversation.accept(undefined, transient("data-thread-reset", { cursor: "4-0" })), "reset");
  const answer = { id: "msg_a", role: "assistant", parts: [{ type: "text", text: "yes" }] };
  conversation.load({ messages: [question("msg_1"), answer], cursor: "7-0", status: "completed" });
  feed(conversation, chunks.slice(4), 5);
  assert.deepEqual(conversation.messages, [question("msg_1"), answer]);
  assert.equal(conversation.active, false);
});

test("the end of a run whose beginning is lost asks for the history", () => {
  const conversation = new Conversation();
  conversation.load({ messages: [question("msg_1")], cursor: "1-0", status: "in_progress" });
  assert.equal(conversation.waiting, true);
  const rest = [{ type: "text-delta", id: "t", delta: "x" }, { type: "finish" }];
  assert.deepEqual(feed(conversation, rest, 5), [undefined, "lost"]);
});

test("a run that is replayed from its start, or that continues an answer, is not doubled", () => {
  const conversation = new Conversation();
  const chunks = run("msg_a", question("msg_1"), "run_1");
  feed(conversation, chunks.slice(0, 6));
  feed(conversation, chunks, 20);
  assert.deepEqual(conversation.messages[1].parts, [{ type: "text", text: "yes", state: "done" }]);
  feed(conversation, [{ type: "start", messageId: "msg_a" }, { type: "text-start", id: "u" }], 40);
  assert.equal(conversation.messages[1].parts.length, 2);
  assert.deepEqual(ids(conversation), ["msg_1", "msg_a"]);
});

test("cursors are ordered as numbers", () => {
  assert.equal(isAfter("10-0", "9-5"), true);
  assert.equal(isAfter("9-10", "9-9"), true);
  assert.equal(isAfter("9-9", "9-9"), false);
});

test("events are the same however the text is cut", () => {
  const text =
    ': hello\r\nretry: 1500\r\n\r\nid: 1-0\ndata: {"a":1}\n\n' +
    "event: x\ndata: b\ndata: c\n\nid: 9-9\n\ndata: lost";
  const whole = new EventParser().push(text);
  assert.deepEqual(whole, [
    { id: "1-0", event: "message", data: '{"a":1}' },
    { id: undefined, event: "x", data: "b\nc" },
  ]);
  for (let size = 1; size < text.length; size += 1) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
    assert.deepEqual(events, whole);
    assert.equal(parser.retry_ms, 1500);
  }
});
