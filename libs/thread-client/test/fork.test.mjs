/** Forking right behind an answer: its last chunk comes a moment before it may be gone on from. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { DecopilotClient, ThreadChat } from "../src/index.js";

/** Refuses so often, then grants; counts what it was asked. */
function granting(refusals, code) {
  const asked = [];
  const fetch = async (url, { body }) => {
    asked.push(JSON.parse(body));
    if (asked.length > refusals) return Response.json({ taskId: asked.at(-1).threadId }, { status: 201 });
    return Response.json({ code }, { status: 404, headers: { "Content-Type": "application/problem+json" } });
  };
  const client = new DecopilotClient({ url: "http://127.0.0.1:1", org: "local", fetch });
  return { asked, chat: new ThreadChat({ client, thread: "t" }) };
}

test("a fork of an answer that is only just whole is granted in the end", async () => {
  const { asked, chat } = granting(2, "message_not_found");
  assert.equal(await chat.fork({ messageId: "msg_a" }), asked[2].threadId);
  assert.deepEqual(asked.map(({ messageId }) => messageId), ["msg_a", "msg_a", "msg_a"]);
});

test("what is refused for good is told at once", async () => {
  const { asked, chat } = granting(1, "thread_not_found");
  await assert.rejects(chat.fork(), { code: "thread_not_found" });
  assert.equal(asked.length, 1);
});
