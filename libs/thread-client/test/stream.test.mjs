/** When a stream comes back, when it gives up, and how fast it finds that it is dead. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { DecopilotClient, ThreadChat } from "../src/index.js";
import { until } from "./counting.mjs";

/** Serves what `answer(request, response, attempt)` says to attach; a thread without messages stands behind it. */
async function serve(answer, options = {}) {
  const attempts = [];
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://gateway/");
    if (pathname.includes("/attach/")) {
      attempts.push({ at: performance.now(), token: request.headers.authorization });
      answer(request, response, attempts.length);
    } else response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ messages: [], queue: [], cursor: "0-0", status: "completed" }));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new DecopilotClient({ url: `http://127.0.0.1:${server.address().port}/`, org: "local", ...options });
  const errors = [];
  const chat = new ThreadChat({ client, thread: "t", onError: (error) => errors.push(error) });
  const states = [];
  const leave = chat.subscribe(() => {
    const { state } = chat.getSnapshot().connection;
    if (states.at(-1) !== state) states.push(state);
  });
  const close = async () => {
    leave();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { attempts, chat, states, errors, close };
}

const live = (response, ...chunks) => {
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  response.write(": hello\n\n");
  chunks.forEach((chunk, place) => response.write(`id: 1-${place}\ndata: ${chunk}\n\n`));
};
const refuse = (response, status, headers = {}) =>
  response.writeHead(status, { "Content-Type": "application/problem+json", ...headers }).end(JSON.stringify({ code: "no", detail: "No." }));

for (const status of [408, 425, 429, 502, 503, 504]) {
  test(`${status} is asked again`, async () => {
    const { attempts, chat, close } = await serve((_, response, attempt) => (attempt === 1 ? refuse(response, status) : live(response)));
    await until(() => chat.getSnapshot().connection.state === "reconnecting", "the refusal");
    const { error, retryAt } = chat.getSnapshot().connection;
    assert.equal(error.status, status, "nobody waits without knowing for what");
    assert.ok(retryAt > Date.now() - 50);
    await until(() => chat.getSnapshot().connection.state === "live", "the connection");
    const pause_ms = attempts[1].at - attempts[0].at;
    assert.ok(pause_ms >= 480 && attempts.length === 2, `${pause_ms}`);
    await close();
  });
}

for (const status of [400, 403, 404, 410, 422, 500, 501]) {
  test(`${status} is not asked again, until somebody wants it`, async () => {
    const { attempts, chat, errors, close } = await serve((_, response, attempt) => (attempt === 1 ? refuse(response, status) : live(response)));
    await until(() => chat.getSnapshot().connection.state === "refused", "the refusal");
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    assert.deepEqual([attempts.length, errors.map((error) => error.status)], [1, [status]]);
    chat.wake();
    await until(() => chat.getSnapshot().connection.state === "live", "the connection");
    await close();
  });
}

test("Retry-After is waited for", async () => {
  const { attempts, chat, close } = await serve((_, response, attempt) =>
    attempt === 1 ? refuse(response, 429, { "Retry-After": "2" }) : live(response),
  );
  await until(() => chat.getSnapshot().connection.state === "live", "the connection");
  assert.ok(attempts[1].at - attempts[0].at >= 1_950);
  await close();
});

test("a stream that ends at once is not asked for in a hot loop", async () => {
  const { attempts, close } = await serve((_, response) => {
    live(response);
    response.end();
  });
  await until(() => attempts.length === 3, "three attempts");
  const [first, second] = [1, 2].map((place) => attempts[place].at - attempts[place - 1].at);
  assert.ok(first >= 480 && second >= 980, `${first} ${second}`);
  await close();
});

test("what is no chunk ends it for good", async () => {
  for (const data of ["{", "[]", '"text"', '{"type": 1}', "null"]) {
    const { attempts, chat, close } = await serve((_, response) => live(response, data));
    await until(() => chat.getSnapshot().connection.state === "refused", "the end");
    assert.deepEqual([chat.getSnapshot().connection.error.code, attempts.length], ["invalid_chunk", 1]);
    await close();
  }
});

test("a fresh token is asked for once", async () => {
  const asked = [];
  const token = ({ fresh = false }) => (asked.push(fresh), fresh ? "new" : "old");
  const isRefused = ({ headers }) => headers.authorization !== "Bearer new";
  const renewed = await serve((request, response) => (isRefused(request) ? refuse(response, 401) : live(response)), { token });
  await until(() => renewed.chat.getSnapshot().connection.state === "live", "the connection");
  assert.deepEqual(renewed.attempts.map((one) => one.token), ["Bearer old", "Bearer new"]);
  assert.equal(asked.filter(Boolean).length, 1);
  await renewed.close();
  const expired = await serve((_, response) => refuse(response, 401), { token });
  await until(() => expired.chat.getSnapshot().connection.state === "expired", "the refusal");
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  assert.equal(expired.attempts.length, 2);
  await expired.close();
});

test("a stream that ends with its token goes on with a fresh one, behind what was read", async () => {
  const cursors = [];
  const token = ({ fresh = false }) => (fresh ? "new" : "old");
  const { attempts, chat, states, close } = await serve(
    (request, response, attempt) => {
      cursors.push(new URL(request.url, "http://gateway/").searchParams.get("cursor"));
      if (attempt === 1) {
        live(response, '{"type":"start","messageId":"a1"}', '{"type":"text-start","id":"t"}');
        response.end("data: [DONE]\n\n");
      } else if (request.headers.authorization === "Bearer old") refuse(response, 401);
      else live(response);
    },
    { token },
  );
  await until(() => attempts.length === 3 && chat.getSnapshot().connection.state === "live", "the connection");
  assert.deepEqual(attempts.map((one) => one.token), ["Bearer old", "Bearer old", "Bearer new"]);
  assert.deepEqual(cursors, ["0-0", "1-1", "1-1"]);
  assert.ok(!states.includes("expired") && !states.includes("refused"), states.join());
  await close();
});

test("a token for the next connection is no chunk of the thread", async () => {
  const { chat, close } = await serve((_, response) => {
    live(response, '{"type":"start","messageId":"a1"}', '{"type":"text-start","id":"t"}');
    response.write('data: {"type":"data-attach-token","data":{"token":"x","expiresAt":"y"},"transient":true}\n\n');
    response.write('id: 1-2\ndata: {"type":"text-delta","id":"t","delta":"a"}\n\n');
  });
  const text = () => chat.getSnapshot().messages.at(-1)?.parts.find(({ type }) => type === "text")?.text;
  await until(() => text() === "a", "the text");
  assert.deepEqual(chat.getSnapshot().messages.at(-1).parts.map(({ type }) => type), ["text"]);
  await close();
});

test("an answer that is no stream is asked for again", async () => {
  const { chat, close } = await serve((_, response, attempt) => (attempt === 1 ? response.writeHead(204).end() : live(response)));
  await until(() => chat.getSnapshot().connection.state === "live", "the connection");
  await close();
});

test("what a callback throws ends nothing", async () => {
  const reported = [];
  const before = console.error;
  console.error = (error) => reported.push(error.message);
  const start = '{"type": "start", "messageId": "msg_a"}';
  const { chat, close } = await serve((_, response) => live(response, start, '{"type": "data-note", "data": 1}', '{"type": "finish"}'));
  chat.listen({ onData: () => assert.fail("not mine") });
  await until(() => chat.getSnapshot().messages.length === 1 && chat.getSnapshot().status === "ready", "the answer");
  console.error = before;
  assert.deepEqual([reported, chat.getSnapshot().connection.state], [["not mine"], "live"]);
  await close();
});

test("a page that was frozen finds within seconds that its connection died meanwhile", async () => {
  const { attempts, chat, close } = await serve((_, response) => live(response));
  await until(() => chat.getSnapshot().connection.state === "live", "the connection");
  const now = Date.now;
  try {
    // A laptop that slept: the wall clock is ahead of all timers.
    Date.now = () => now() + 60_000;
    await until(() => attempts.length === 2, "another connection");
  } finally {
    Date.now = now;
  }
  await until(() => chat.getSnapshot().connection.state === "live", "the connection");
  await close();
});
