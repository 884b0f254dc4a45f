/** Messages that wait in line, and those on their way. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "../src/conversation.js";
import { answer, feed, history, ids, question, run, runEnd } from "./making.mjs";

test("a message sent while a run goes on waits in line until its own run shows it", () => {
  const conversation = new Conversation();
  feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 5));
  conversation.offer(question("msg_2"));
  assert.deepEqual([ids(conversation), conversation.queue.length], [["msg_1", "msg_a"], 1]);
  assert.equal(conversation.isUnconfirmed("msg_2"), true);
  conversation.confirm(question("msg_2"), { runId: "run_2", status: "queued", cursor: "1-0" });
  feed(conversation, [runEnd("completed"), { type: "finish" }], 20);
  assert.equal(conversation.waiting, true, "its turn comes");
  feed(conversation, run("msg_b", question("msg_2"), "run_2"), 30);
  assert.deepEqual([ids(conversation), conversation.queue], [["msg_1", "msg_a", "msg_2", "msg_b"], []]);
  assert.equal(conversation.active, false);
});

test("a message is shown once however its 202 and its run race", () => {
  for (const overtaken of [true, false]) {
    const conversation = new Conversation();
    feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 5));
    conversation.offer(question("msg_2"));
    const receipt = { runId: "run_2", status: "queued", cursor: "1-0" };
    if (!overtaken) conversation.confirm(question("msg_2"), receipt);
    feed(conversation, [{ type: "finish" }, ...run("msg_b", question("msg_2"), "run_2")], 20);
    if (overtaken) conversation.confirm(question("msg_2"), receipt);
    conversation.line([{ messageId: "msg_2", runId: "run_2", message: question("msg_2"), interrupts: false }]);
    assert.deepEqual([ids(conversation), conversation.queue], [["msg_1", "msg_a", "msg_2", "msg_b"], []]);
    assert.equal(conversation.active, false);
  }
});

test("a message that was thought to start at once and waits in line leaves the chat, and the other way round", () => {
  const conversation = new Conversation();
  conversation.offer(question("msg_1"));
  conversation.confirm(question("msg_1"), { runId: "run_1", status: "queued", cursor: "1-0" });
  assert.deepEqual([ids(conversation), conversation.queue.length], [[], 1]);
  conversation.offer(question("msg_2"));
  conversation.confirm(question("msg_2"), { runId: "run_2", status: "in_progress", cursor: "1-0" });
  assert.deepEqual([ids(conversation), conversation.queue.length], [["msg_2"], 1]);
  assert.equal(conversation.runId, "run_2");
});

test("an interrupting message goes to the head of the line and the run is being stopped", () => {
  const conversation = new Conversation();
  feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 5));
  for (const [id, interrupts] of [["msg_2", false], ["msg_3", true]]) {
    conversation.offer(question(id), { interrupts });
    conversation.confirm(question(id), { runId: `run_${id}`, status: "queued", cursor: "1-0" }, { interrupts });
  }
  assert.deepEqual(conversation.queue.map(({ messageId }) => messageId), ["msg_3", "msg_2"]);
  assert.equal(conversation.stopping, true);
});

test("a refused message leaves the line, one that is on its way survives a newer queue", () => {
  const conversation = new Conversation();
  feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 5));
  conversation.offer(question("msg_2"));
  conversation.line([]);
  assert.equal(conversation.has("msg_2"), true);
  assert.equal(conversation.withdraw(question("msg_2")), true);
  assert.equal(conversation.has("msg_2"), false);
  conversation.offer(question("msg_3"));
  conversation.confirm(question("msg_3"), { runId: "run_3", status: "withdrawn", cursor: "1-0" });
  assert.equal(conversation.has("msg_3"), false);
});

test("a queue held by a question is not waited for", () => {
  const conversation = new Conversation();
  const queued = { messageId: "msg_2", runId: "run_2", message: question("msg_2"), interrupts: false };
  conversation.load(history([answer("msg_a")], { status: "requires_action", pending: [], queue: [queued] }));
  assert.deepEqual([conversation.active, conversation.queue.length], [false, 1]);
});

test("a message that is taken before the answer ahead of it is told stands behind it", () => {
  const conversation = new Conversation();
  for (const id of ["msg_1", "msg_2"]) {
    const receipt = { runId: `run_${id}`, status: "in_progress", cursor: id === "msg_1" ? "0-0" : "7-0" };
    conversation.offer(question(id));
    conversation.confirm(question(id), receipt);
  }
  feed(conversation, run("msg_a", question("msg_1"), "run_msg_1"));
  assert.deepEqual(ids(conversation), ["msg_1", "msg_a", "msg_2"]);
  feed(conversation, run("msg_b", question("msg_2"), "run_msg_2"), 8);
  assert.deepEqual(ids(conversation), ["msg_1", "msg_a", "msg_2", "msg_b"]);
});

test("a message that a later history has in the chat stays there whatever older readings come in behind it", () => {
  const waits = { messageId: "msg_2", runId: "run_2", message: question("msg_2"), interrupts: false };
  const conversation = new Conversation();
  const first = conversation.reading();
  feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 5));
  conversation.line([waits]);
  const older = conversation.reading();
  conversation.line([waits], conversation.reading());
  conversation.line([], older, [question("msg_2")]);
  assert.deepEqual([ids(conversation), conversation.queue], [["msg_1", "msg_a", "msg_2"], []]);
  conversation.load(history([question("msg_1")], { status: "in_progress" }), first);
  assert.ok(ids(conversation).includes("msg_2"), "the history was read before it was taken");
});
