/** Sending several messages at once: they come in their order, or not at all. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { DecopilotClient, ThreadChat } from "../src/index.js";

/** A server that answers each message as `deal` says, with 202 by default; notes what it got. */
function server(deal) {
  const got = [];
  const fetch = async (url, { body }) => {
    const [{ id, parts }] = JSON.parse(body).messages;
    const { text } = parts[0];
    got.push(text);
    const { http = 202, status = "in_progress" } = deal({ id, text }) ?? {};
    if (http === 0) throw new TypeError("fetch failed");
    const receipt = { taskId: "t", runId: `run_${got.length}`, status, cursor: "1-0" };
    return Response.json(http === 202 ? receipt : { code: "refused", detail: "Not now." }, { status: http });
  };
  const client = new DecopilotClient({ url: "http://127.0.0.1:1", org: "local", fetch });
  return { got, chat: new ThreadChat({ client, thread: "t", fresh: true }) };
}

/** What comes of messages that are sent in one go: of those that are refused, the status and their ids. */
async function sendAll(chat, texts) {
  const sent = await Promise.allSettled(texts.map((text) => chat.sendMessage({ id: `msg_${text}`, text })));
  return sent.map(({ reason }) => reason && [reason.status, reason.messageId]);
}

for (const http of [0, 422, 503])
  test(`behind one that is not accepted nothing is sent (${http})`, async () => {
    const { got, chat } = server(({ text }) => text === "a" && { http });
    assert.deepEqual(await sendAll(chat, ["a", "b", "c"]), [[http, "msg_a"], [http, "msg_b"], [http, "msg_c"]]);
    assert.deepEqual(got, ["a"]);
    assert.deepEqual(chat.getSnapshot().messages, []);
    // What is said later was not said behind it.
    await chat.sendMessage("d");
    assert.deepEqual(got, ["a", "d"]);
  });

test("one that was taken back is sent under an id of its own, ahead of those behind it", async () => {
  const { got, chat } = server(({ id }) => id === "msg_a" && { status: "withdrawn" });
  assert.deepEqual(await sendAll(chat, ["a", "b"]), [undefined, undefined]);
  assert.deepEqual(got, ["a", "a", "b"]);
});
