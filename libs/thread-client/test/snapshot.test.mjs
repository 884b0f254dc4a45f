/** What is drawn of a conversation: it never changes, and what is the same stays the same object. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "../src/conversation.js";
import { snapshotOf } from "../src/snapshot.js";
import { feed, transient } from "./making.mjs";

test("a snapshot of an answer that goes on behind a decision never changes", () => {
  const conversation = new Conversation();
  feed(conversation, [
    { type: "start", messageId: "msg_a" },
    transient("data-run", { runId: "run_1", attempt: 1 }),
    { type: "tool-input-available", toolCallId: "c", toolName: "delete", input: {} },
    { type: "tool-approval-request", toolCallId: "c", approvalId: "ap" },
  ]);
  let snapshot = snapshotOf(conversation, undefined, {});
  conversation.decide({ approvalId: "ap", approved: true });
  const rest = [
    { type: "text-start", id: "t" },
    { type: "text-delta", id: "t", delta: "one" },
    { type: "text-delta", id: "t", delta: "two" },
  ];
  for (const [place, chunk] of rest.entries()) {
    const [before, asItWas] = [snapshot, structuredClone(snapshot.messages)];
    conversation.accept(`${20 + place}-0`, chunk);
    snapshot = snapshotOf(conversation, before, {});
    assert.deepEqual(before.messages, asItWas);
    assert.notEqual(snapshot.messages[0], before.messages[0]);
    if (place > 0) assert.equal(snapshot.messages[0].parts[0], before.messages[0].parts[0]);
  }
  assert.equal(snapshot.messages[0].parts[1].text, "onetwo");
});
