/** What an answer waits for, and what is decided of it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "../src/conversation.js";
import { answer, asking, call, feed, history, ids, question, rewind, run, runEnd, shown, transient } from "./making.mjs";

test("a continuation goes on with the message that waited instead of a second one", () => {
  const conversation = new Conversation();
  feed(conversation, asking("msg_a", "run_1"));
  const pending = { messageId: "msg_a", kind: "approval", id: "ap", isBusy: false };
  assert.deepEqual(conversation.pending, [pending]);
  const resolution = { approvalId: "ap", approved: true, reason: "go" };
  assert.equal(conversation.decide(resolution), true);
  assert.deepEqual(conversation.pending, [{ ...pending, isBusy: true }]);
  conversation.decided([resolution], { runId: "run_2", status: "in_progress" });
  assert.deepEqual([conversation.waiting, conversation.runId], [true, "run_2"]);
  const verdict = { id: "ap", approved: true, reason: "go" };
  const responded = answer("msg_a", call("approval-responded", { approval: verdict }));
  assert.deepEqual(shown(conversation), [responded]);
  assert.deepEqual(conversation.pending, []);
  feed(
    conversation,
    [
      { type: "start", messageId: "msg_a" },
      transient("data-run", { runId: "run_2", attempt: 1 }),
      rewind(responded, "run_2", 1),
      { type: "tool-output-available", toolCallId: "c", output: "gone" },
      runEnd("completed", undefined, "run_2"),
      { type: "finish", finishReason: "stop" },
    ],
    20,
  );
  const whole = answer("msg_a", call("output-available", { approval: verdict, output: "gone" }));
  assert.deepEqual(shown(conversation), [whole]);
  assert.deepEqual([conversation.asks, conversation.active], [undefined, false]);
});

test("a continuation that overtakes its 202 is not waited for", () => {
  const conversation = new Conversation();
  feed(conversation, asking("msg_a", "run_1"));
  const resolution = { approvalId: "ap", approved: true };
  conversation.decide(resolution);
  const begun = [{ type: "start", messageId: "msg_a" }, transient("data-run", { runId: "run_2", attempt: 1 })];
  feed(conversation, begun, 20);
  conversation.decided([resolution], { runId: "run_2", status: "in_progress" });
  feed(conversation, [runEnd("completed"), { type: "finish" }], 30);
  assert.equal(conversation.active, false);
});

test("of several approvals one is decided and the others still wait", () => {
  const conversation = new Conversation();
  const parts = ["a", "b"].map((id) => ({ ...call("approval-requested", { approval: { id } }), toolCallId: id }));
  const pending = ["a", "b"].map((id) => ({ kind: "approval", id, toolCallId: id, toolName: "delete" }));
  conversation.load(history([answer("msg_a", ...parts)], { status: "requires_action", pending }));
  const resolution = { approvalId: "a", approved: false };
  conversation.decide(resolution);
  conversation.decided([resolution], { runId: "run_1", status: "requires_action" });
  assert.deepEqual(conversation.pending.map(({ id }) => id), ["b"]);
  assert.equal(conversation.active, false);
  const states = shown(conversation)[0].parts.map(({ state }) => state);
  assert.deepEqual(states, ["approval-responded", "approval-requested"]);
});

test("what was pending is denied when a newer message goes on without it", () => {
  const conversation = new Conversation();
  feed(conversation, asking("msg_a", "run_1"));
  feed(conversation, run("msg_b", question("msg_2"), "run_2"), 20);
  assert.equal(conversation.messages[0].parts[0].state, "output-denied");
  assert.equal(conversation.messages[0].parts[0].approval.approved, false);
  assert.equal(conversation.asks, undefined);
  assert.deepEqual(ids(conversation), ["msg_a", "msg_2", "msg_b"]);
});

test("a newer history tells what was decided elsewhere, an older one nothing", () => {
  const conversation = new Conversation();
  feed(conversation, asking("msg_a", "run_1"));
  const denied = answer("msg_a", call("output-denied", { approval: { id: "ap", approved: false } }));
  conversation.catchUp({ messages: [denied], cursor: "3-0", status: "completed", pending: [] });
  assert.deepEqual(conversation.asks.keys, new Set(["approval:ap"]));
  conversation.catchUp({ messages: [denied], cursor: "6-0", status: "completed", pending: [] });
  assert.deepEqual([conversation.messages, conversation.asks], [[denied], undefined]);
});

test("only what the server calls pending is asked for after a reload", () => {
  const parts = [call("input-available"), { ...call("input-available"), toolCallId: "d" }];
  const pending = [{ kind: "answer", id: "d", toolCallId: "d", toolName: "delete" }];
  const conversation = new Conversation();
  conversation.load(history([answer("msg_a", ...parts)], { status: "requires_action", pending }));
  assert.deepEqual(conversation.asks.keys, new Set(["answer:d"]));
  conversation.load(history([answer("msg_a", ...parts)], { status: "completed" }));
  assert.equal(conversation.asks, undefined);
});

test("every order of a decision's answer, its run and a history that was read before has one outcome", () => {
  const responded = answer("msg_a", call("approval-responded", { approval: { id: "ap", approved: true } }));
  const told = [
    [{ type: "start", messageId: "msg_a" }, transient("data-run", { runId: "run_2", attempt: 1 }), rewind(responded, "run_2", 1)],
    [{ type: "tool-output-available", toolCallId: "c", output: "gone" }],
    [runEnd("completed", undefined, "run_2"), { type: "finish", finishReason: "stop" }],
  ];
  const waiting = answer("msg_a", call("approval-requested", { approval: { id: "ap" } }));
  const pending = [{ kind: "approval", id: "ap", toolCallId: "c", toolName: "delete" }];
  const whole = answer("msg_a", call("output-available", { approval: { id: "ap", approved: true }, output: "gone" }));
  const resolution = { approvalId: "ap", approved: true };
  // The chunks keep their order; the 202 comes anywhere, and so does the history that was read before it.
  const orders = interleavings(["c0", "c1", "c2"], [["accepted"], ["read"]]);
  assert.equal(orders.length, 20);
  for (const order of orders) {
    const conversation = new Conversation();
    feed(conversation, asking("msg_a", "run_1"));
    const reading = conversation.reading();
    conversation.decide(resolution);
    conversation.deciding([resolution]);
    const seen = [];
    let next = 0;
    for (const step of order) {
      if (step === "accepted") conversation.decided([resolution], { runId: "run_2", status: "in_progress" });
      else if (step === "read") {
        conversation.load({ messages: [waiting], cursor: "6-0", status: "requires_action", pending }, reading);
        // The stream goes on behind the history: what was told is told again.
        told.slice(0, next).forEach((chunks, at) => feed(conversation, chunks, 20 + 10 * at));
      } else {
        feed(conversation, told[next], 20 + 10 * next);
        next += 1;
      }
      seen.push(shown(conversation)[0].parts[0].state);
      assert.deepEqual(conversation.pending.filter(({ isBusy }) => !isBusy), [], `${order} asks again`);
    }
    assert.equal(seen.includes("approval-requested"), false, `${order} shows ${seen}`);
    assert.deepEqual(shown(conversation), [whole], String(order));
    assert.deepEqual([conversation.active, conversation.pending], [false, []], String(order));
  }
});

test("an output that is given while the answer goes on is held until it asks for it", () => {
  const conversation = new Conversation();
  feed(conversation, [{ type: "start", messageId: "msg_a" }, transient("data-run", { runId: "run_1" })]);
  feed(conversation, [{ type: "tool-input-available", toolCallId: "c", toolName: "delete", input: {} }], 10);
  assert.equal(conversation.decide({ toolCallId: "c", output: 1 }), true);
  assert.equal(shown(conversation)[0].parts[0].state, "output-available");
  assert.deepEqual(conversation.decisions, []);
  feed(conversation, [runEnd("requires_action"), { type: "finish", finishReason: "tool-calls" }], 20);
  assert.deepEqual(conversation.decisions, [{ toolCallId: "c", output: 1 }]);
});

test("an output that is given for what nobody asks is dropped with the end of the answer", () => {
  const conversation = new Conversation();
  feed(conversation, [{ type: "start", messageId: "msg_a" }, transient("data-run", { runId: "run_1" })]);
  feed(conversation, [{ type: "tool-input-available", toolCallId: "c", toolName: "delete", input: {} }], 10);
  conversation.decide({ toolCallId: "c", output: 1 });
  feed(conversation, [runEnd("failed", "crashed"), { type: "finish", finishReason: "error" }], 20);
  assert.deepEqual([conversation.decisions, shown(conversation)[0].parts[0].state], [[], "input-available"]);
});

test("a call whose id comes again in the same answer is another one", () => {
  const conversation = new Conversation();
  const resolution = { approvalId: "ap", approved: true };
  feed(conversation, asking("msg_a", "run_1"));
  conversation.decide(resolution);
  conversation.decided([resolution], { runId: "run_2", status: "in_progress" });
  const responded = answer("msg_a", call("approval-responded", { approval: { id: "ap", approved: true } }));
  feed(
    conversation,
    [
      { type: "start", messageId: "msg_a" },
      transient("data-run", { runId: "run_2", attempt: 1 }),
      rewind(responded, "run_2", 1),
      { type: "tool-output-available", toolCallId: "c", output: 1 },
      { type: "start-step" },
      ...asking("msg_a", "run_2").slice(2),
    ],
    20,
  );
  assert.equal(conversation.pending.length, 1);
  assert.equal(conversation.decide(resolution), true);
});

/** Every way to put the members of `others` between those of `one`, each in its own order. */
function interleavings(one, others) {
  const [other, ...rest] = others;
  if (!other) return [one];
  const woven = (a, b) =>
    a.length && b.length ? [...woven(a.slice(1), b).map((w) => [a[0], ...w]), ...woven(a, b.slice(1)).map((w) => [b[0], ...w])] : [[...a, ...b]];
  return woven(one, other).flatMap((order) => interleavings(order, rest));
}
