/** What a thread makes of the org's events. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { DecopilotClient, ThreadChat } from "../src/index.js";

test("of a thread whose first message is only on its way nothing is asked when the watch connects", async () => {
  const asked = [];
  // A gateway that is slow to answer anything.
  const fetch = (url) => {
    asked.push(new URL(url).pathname);
    return new Promise(() => {});
  };
  const client = new DecopilotClient({ url: "https://chat.example.org", org: "acme", fetch });
  const chat = new ThreadChat({ client, thread: "t", fresh: true });
  chat.sendMessage("Hello");
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  await turn();
  chat.hear({ type: "connected", data: { resumed: false } });
  await turn();
  assert.deepEqual(asked, ["/acme/decopilot/threads/t/messages"]);
});
