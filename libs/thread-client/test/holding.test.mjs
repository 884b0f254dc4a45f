/** Decisions that are held until an answer ends, where its end is not heard. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { DecopilotClient, ThreadChat } from "../src/index.js";
import { until } from "./counting.mjs";
import { answer, asking, call, history, transient } from "./making.mjs";

/** A thread whose answer asks; `lose()` has the stream reset and the history hold the end that it did not tell. */
async function serve() {
  const posted = [];
  let told = { messages: [], queue: [], cursor: "0-0", status: "completed" };
  let stream;
  const write = (id, chunk) => stream.write(`id: ${id}\ndata: ${JSON.stringify(chunk)}\n\n`);
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://gateway/");
    if (pathname.includes("/attach/")) {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.write(": hello\n\n");
      stream = response;
      return;
    }
    let body = "";
    for await (const piece of request) body += piece;
    if (request.method === "POST") posted.push(JSON.parse(body));
    const receipt = { taskId: "t", runId: "run_2", status: "in_progress", cursor: "9-9" };
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify(request.method === "POST" ? receipt : told));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new DecopilotClient({ url: `http://127.0.0.1:${server.address().port}/`, org: "local" });
  const lose = (end) => {
    told = { queue: [], ...end };
    write("9-9", transient("data-thread-reset", { cursor: "9-9", reason: "hole" }));
  };
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { posted, client, write, lose, close };
}

const waits = () => answer("msg_a", call("approval-requested", { approval: { id: "ap" } }));
const pending = [{ kind: "approval", id: "ap", toolCallId: "c", toolName: "delete" }];

for (const sendAutomaticallyWhen of [undefined, () => true]) {
  const how = sendAutomaticallyWhen ? "with" : "without";
  test(`a decision that was held is sent when a reset passes over the end of its answer, ${how} a condition`, async (t) => {
    const { posted, client, write, lose, close } = await serve();
    const chat = new ThreadChat({ client, thread: "t", sendAutomaticallyWhen });
    const leave = chat.subscribe(() => {});
    t.after(() => (leave(), close()));
    await until(() => chat.getSnapshot().connection.state === "live", "the connection");
    for (const [place, chunk] of asking("msg_a", "run_1").slice(0, 4).entries()) write(`1-${place}`, chunk);
    await until(() => chat.getSnapshot().messages[0]?.parts[0]?.state === "approval-requested", "the question");
    await chat.addToolApprovalResponse({ id: "ap", approved: true });
    assert.deepEqual(posted, []);
    lose(history([waits()], { status: "requires_action", pending }));
    await until(() => posted.length > 0, "the decision");
    assert.deepEqual(posted, [{ resolutions: [{ approvalId: "ap", approved: true }] }]);
  });
}
