/** A thread as a tab knows it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "../src/conversation.js";
import { answer, call, feed, history, ids, question, rewind, run, runEnd, transient } from "./making.mjs";

test("the question that the tab sent itself is shown once, and ahead of its answer in a passive tab", () => {
  const [mine, passive] = [new Conversation(), new Conversation()];
  mine.offer(question("msg_1"));
  for (const conversation of [mine, passive]) {
    feed(conversation, run("msg_a", question("msg_1"), "run_1"));
    assert.deepEqual(ids(conversation), ["msg_1", "msg_a"]);
  }
});

test("what stood behind a message that is answered anew is gone, but for what is sent just then", () => {
  const answer = (id) => ({ id, role: "assistant", parts: [{ type: "text", text: "yes" }] });
  const held = [question("msg_1"), answer("msg_a"), question("msg_2"), answer("msg_b")];
  const [anew, dropped] = [run("msg_c", question("msg_1"), "run_3"), transient("data-messages-dropped", { after: "msg_1" })];
  anew.splice(2, 0, dropped);
  const [early, late] = [new Conversation(), new Conversation()];
  early.load({ messages: held, cursor: "9-0", status: "completed" });
  early.offer(question("msg_3"));
  feed(early, anew, 10);
  assert.deepEqual(ids(early).sort(), ["msg_1", "msg_3", "msg_c"]);
  // Who reads the history behind the event holds them no more when the chunk comes.
  late.load({ messages: held.slice(0, 1), cursor: "9-0", status: "in_progress", activeRun: { runId: "run_3" } });
  feed(late, anew, 10);
  assert.deepEqual(ids(late), ["msg_1", "msg_c"]);
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

test("that a model call is tried again is known until the answer says anything else", () => {
  const conversation = new Conversation();
  const told = { attempt: 2, delayMs: 900, category: "rate_limit" };
  const chunks = run("msg_a", question("msg_1"), "run_1");
  feed(conversation, [...chunks.slice(0, 3), transient("data-retry", told)]);
  assert.deepEqual(conversation.retry, told);
  conversation.accept("5-0", chunks[3]);
  assert.equal(conversation.retry, undefined);
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

test("what a log that was put back to an earlier state never had is shown no more", () => {
  const conversation = new Conversation();
  feed(conversation, run("msg_a", question("msg_1"), "run_1"), 100);
  feed(conversation, run("msg_b", question("msg_2"), "run_2"), 200);
  const reset = (cursor) => transient("data-thread-reset", { cursor, reason: "cursor" });
  const end = conversation.cursor;
  assert.equal(conversation.accept("300-0", reset("300-0")), "reset");
  // Of a run that goes on a frame is gone: it is the same log.
  feed(conversation, run("msg_x", question("msg_x"), "run_x").slice(0, 3), 300);
  assert.equal(conversation.accept(end, reset(end)), "reset");
  assert.equal(conversation.accept("10-0", reset("10-0")), "anew");
  conversation.load({ messages: [question("msg_1")], cursor: "10-0", status: "completed" });
  feed(conversation, run("msg_c", question("msg_3"), "run_3"), 11);
  assert.deepEqual(ids(conversation), ["msg_1", "msg_3", "msg_c"]);
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

test("a rewind in mid answer keeps its place and its end", () => {
  const conversation = new Conversation();
  feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 5));
  const kept = answer("msg_a", { type: "text", text: "kept", state: "done" });
  feed(conversation, [transient("data-run", { runId: "run_1", attempt: 2 }), rewind(kept)], 20);
  assert.equal(conversation.answering, conversation.messages[1]);
  assert.deepEqual(conversation.messages[1], kept);
  assert.equal(feed(conversation, [{ type: "finish", finishReason: "stop" }], 30)[0], "end");
  assert.deepEqual(ids(conversation), ["msg_1", "msg_a"]);
});

test("a rewind tells an answer whose beginning was missed", () => {
  const conversation = new Conversation();
  const activeRun = { runId: "run_1", attempt: 1, cancelRequested: false };
  conversation.load({ messages: [question("msg_1")], cursor: "1-0", status: "in_progress", activeRun });
  feed(conversation, [{ type: "text-delta", id: "t", delta: "lost" }, rewind(answer("msg_a"))], 5);
  assert.equal(conversation.answering.id, "msg_a");
  assert.equal(conversation.runId, "run_1");
  assert.equal(feed(conversation, [{ type: "finish", finishReason: "stop" }], 9)[0], "end");
});

test("how a run ended is known from its stream and from history alike", () => {
  const [seen, read] = [new Conversation(), new Conversation()];
  const metadata = { finishReason: "other", failureReason: "superseded", errorText: "no" };
  const finish = { type: "finish", finishReason: "other", messageMetadata: metadata };
  const end = [runEnd("failed", "superseded"), { type: "abort" }, finish];
  feed(seen, [...run("msg_a", question("msg_1"), "run_1").slice(0, 6), ...end]);
  read.load(history([{ ...answer("msg_a"), metadata }], { status: "failed" }));
  for (const { ends } of [seen, read]) {
    const { reason, status, finishReason } = ends.get("msg_a");
    assert.deepEqual([reason, status, finishReason], ["superseded", "failed", "other"]);
  }
});

test("the run to stop is the one that goes on, and stopping lasts until its end", () => {
  const conversation = new Conversation();
  assert.equal(conversation.runId, undefined);
  const activeRun = { runId: "run_1", attempt: 0, cancelRequested: true };
  conversation.load(history([question("msg_1")], { status: "in_progress", activeRun }));
  assert.deepEqual([conversation.runId, conversation.stopping], ["run_1", true]);
  feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 4), 20);
  assert.deepEqual([conversation.runId, conversation.stopping], ["run_1", true]);
  conversation.stop("run_1", false);
  assert.equal(conversation.stopping, false);
  conversation.stop("run_1");
  feed(conversation, [runEnd("failed", "cancelled"), { type: "abort" }, { type: "finish" }], 30);
  assert.deepEqual([conversation.runId, conversation.stopping], [undefined, false]);
});

test("an answer's next words are waited for while no tool is at work and nothing else moves", () => {
  const conversation = new Conversation();
  const isWaitedFor = (...chunks) => {
    feed(conversation, chunks, (first += 10));
    return conversation.speaking !== undefined;
  };
  let first = 0;
  const call = { toolCallId: "c", toolName: "delete" };
  assert.equal(isWaitedFor({ type: "start", messageId: "msg_a" }, { type: "start-step" }), false);
  assert.equal(isWaitedFor({ type: "reasoning-delta", id: "r", delta: "hm" }), false);
  assert.equal(isWaitedFor({ type: "reasoning-end", id: "r" }), true);
  assert.equal(isWaitedFor({ type: "text-delta", id: "t", delta: "a" }), true);
  assert.equal(isWaitedFor({ type: "tool-input-start", ...call }), false);
  assert.equal(isWaitedFor({ type: "tool-input-available", ...call, input: 1 }), false);
  assert.equal(isWaitedFor({ type: "tool-output-available", toolCallId: "c", output: 1 }), true);
  const before = conversation.speaking;
  assert.equal(isWaitedFor(transient("data-run", { runId: "run_1", attempt: 2 })), true);
  assert.notEqual(conversation.speaking, before, "a takeover is a sign of life");
  conversation.stop("run_1");
  assert.equal(conversation.speaking, undefined);
  assert.equal(isWaitedFor({ type: "finish", finishReason: "stop" }), false);
});
