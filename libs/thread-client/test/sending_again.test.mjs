/** Sending a message again that was accepted, and taken back from the line by somebody meanwhile. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { DecopilotClient, ThreadChat } from "../src/index.js";

/** A server at which `msg_1` was taken back; counts the ids that it is sent. */
function takenBack() {
  const ids = [];
  const fetch = async (url, { body }) => {
    const [{ id }] = JSON.parse(body).messages;
    ids.push(id);
    const status = id === "msg_1" ? "withdrawn" : "in_progress";
    return Response.json({ taskId: "t", runId: `run_${ids.length}`, status, cursor: "1-0" }, { status: 202 });
  };
  const client = new DecopilotClient({ url: "http://127.0.0.1:1", org: "local", fetch });
  return { ids, chat: new ThreadChat({ client, thread: "t", fresh: true }) };
}

test("said again by a person it is a message of its own", async () => {
  const { ids, chat } = takenBack();
  await chat.sendMessage({ id: "msg_1", text: "once more" });
  assert.equal(ids.length, 2);
  assert.deepEqual(chat.getSnapshot().messages.map(({ id }) => id), [ids[1]]);
});

test("sent again because its answer was lost it stays taken back", async () => {
  const { ids, chat } = takenBack();
  await chat.sendMessage({ id: "msg_1", text: "once more" }, { anew: false });
  assert.deepEqual(ids, ["msg_1"]);
  assert.deepEqual([chat.getSnapshot().messages, chat.getSnapshot().queue], [[], []]);
});
