/** What is told again after a reset does not flicker. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "../src/conversation.js";
import { answer, feed, history, ids, question, rewind, run, runEnd, shown } from "./making.mjs";

const texts = (conversation) => shown(conversation).map(({ parts }) => parts.map(({ text }) => text).join());

test("an answer that is told again from its start is shown as far as it had come", () => {
  const conversation = new Conversation();
  const chunks = run("msg_a", question("msg_1"), "run_1");
  feed(conversation, chunks.slice(0, 5));
  const activeRun = { runId: "run_1", attempt: 1, cancelRequested: false };
  conversation.load({ messages: [question("msg_1")], cursor: "0-0", status: "in_progress", activeRun });
  for (const [place, chunk] of chunks.entries()) {
    assert.deepEqual([texts(conversation), conversation.answering?.id], [["hi", "yes"], "msg_a"], `before ${place}`);
    assert.deepEqual([conversation.runId, conversation.waiting], ["run_1", false]);
    feed(conversation, [chunk], 1 + place);
  }
  assert.deepEqual([texts(conversation), conversation.active], [["hi", "yes"], false]);
});

test("an answer that had ended and is not in the history yet stays", () => {
  const conversation = new Conversation();
  const chunks = run("msg_a", question("msg_1"), "run_1");
  feed(conversation, chunks);
  conversation.load({ messages: [], cursor: "0-0", status: "in_progress", activeRun: { runId: "run_1" } });
  for (const [place, chunk] of chunks.entries()) {
    assert.deepEqual([ids(conversation), texts(conversation)], [["msg_1", "msg_a"], ["hi", "yes"]]);
    feed(conversation, [chunk], 1 + place);
  }
  assert.deepEqual([ids(conversation), conversation.active], [["msg_1", "msg_a"], false]);
});

test("what the history has by now takes the place of what was shown", () => {
  const conversation = new Conversation();
  feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 5));
  const whole = answer("msg_a", { type: "text", text: "yes, and more" });
  conversation.load(history([question("msg_1"), whole], { status: "completed" }));
  assert.deepEqual([texts(conversation), conversation.active], [["hi", "yes, and more"], false]);
});

test("an attempt that took over shows what it has as soon as it is told", () => {
  const conversation = new Conversation();
  const chunks = run("msg_a", question("msg_1"), "run_1");
  feed(conversation, chunks.slice(0, 5));
  conversation.load({ messages: [], cursor: "0-0", status: "in_progress", activeRun: { runId: "run_1" } });
  feed(conversation, chunks.slice(0, 3));
  assert.deepEqual(texts(conversation), ["hi", "yes"]);
  feed(conversation, [rewind(answer("msg_a", { type: "text", text: "y" }))], 9);
  assert.deepEqual(texts(conversation), ["hi", "y"]);
});

test("an answer that goes on is shown whole while the history has its first half", () => {
  const conversation = new Conversation();
  const half = answer("msg_a", { type: "text", text: "one", state: "done" });
  conversation.load({ messages: [half], cursor: "5-0", status: "requires_action", pending: [] });
  const more = [{ type: "start", messageId: "msg_a" }, { type: "text-start", id: "t" }, { type: "text-delta", id: "t", delta: "two" }];
  feed(conversation, more, 6);
  conversation.load({ messages: [half], cursor: "5-0", status: "in_progress", activeRun: { runId: "run_2" } });
  assert.deepEqual(texts(conversation), ["one,two"]);
  feed(conversation, more, 6);
  assert.deepEqual(texts(conversation), ["one,two"]);
  feed(conversation, [runEnd("completed", undefined, "run_2"), { type: "finish" }], 9);
  assert.deepEqual(texts(conversation), ["one,two"]);
});

test("chunks that come twice are folded once", () => {
  const conversation = new Conversation();
  const chunks = run("msg_a", question("msg_1"), "run_1");
  feed(conversation, chunks.slice(0, 5));
  feed(conversation, chunks);
  assert.deepEqual(texts(conversation), ["hi", "yes"]);
});
