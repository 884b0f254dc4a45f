/** The transport against a gateway that says what a thread can say, over HTTP. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { DecopilotClient } from "../src/client.js";
import { DecopilotChatTransport } from "../src/transport.js";
import { answer, question } from "./making.mjs";

const call = (toolCallId, state, more = {}) => ({ type: "tool-ask", toolCallId, state, input: {}, ...more });

/** A gateway for one thread whose answers are told by `METHOD path`; ends with the test. */
async function gateway(context, answers) {
  const asked = [];
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://gateway");
    const body = [];
    for await (const piece of request) body.push(piece);
    const what = `${request.method} ${pathname.replace("/acme/decopilot/", "")}`;
    asked.push({ what, body: body.length > 0 ? JSON.parse(Buffer.concat(body).toString()) : undefined });
    response.writeHead(what in answers ? 200 : 404, { "Content-Type": "application/json" });
    response.end(JSON.stringify(answers[what] ?? { code: "not_found" }));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const client = new DecopilotClient({ url: `http://127.0.0.1:${server.address().port}/`, org: "acme" });
  return { client, asked };
}

for (const sdk of [5, 6, 7]) {
  test(`one answer of two is taken, and leaves the message as it is (ai ${sdk})`, async (context) => {
    const { client, asked } = await gateway(context, {
      "POST threads/t/messages": { runId: "run_1", messageId: "msg_a", status: "requires_action", cursor: "9-0" },
      "GET threads/t": {
        ...{ status: "requires_action", activeRun: null },
        pending: [{ kind: "answer", id: "two", toolCallId: "two", toolName: "ask" }],
      },
    });
    const transport = new DecopilotChatTransport({ client, sdk });
    const given = call("one", "output-available", { output: "yes" });
    const waiting = answer("msg_a", { type: "step-start" }, given, call("two", "input-available"));
    const before = structuredClone(waiting);
    const stream = await transport.sendMessages({
      trigger: "submit-message",
      chatId: "t",
      messageId: undefined,
      messages: [question("msg_q"), waiting],
      abortSignal: undefined,
    });
    assert.deepEqual(await Array.fromAsync(stream), []);
    assert.deepEqual(waiting, before);
    assert.deepEqual(asked.map(({ what }) => what), ["POST threads/t/messages", "GET threads/t"]);
    assert.deepEqual(asked[0].body.messages[0].parts, [given]);
  });
}

test("a turn without a message to send is refused before anything is asked", async (context) => {
  const { client, asked } = await gateway(context, {});
  const transport = new DecopilotChatTransport({ client });
  const sending = { trigger: "submit-message", chatId: "t", messageId: undefined, messages: [] };
  await assert.rejects(transport.sendMessages(sending), /no message to send/);
  assert.deepEqual(asked, []);
});
