/** The hook: what is shared, what is a component's own, and what a server draws. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { JSDOM } from "jsdom";

import { calm, until } from "./counting.mjs";

let dom, React, act, createRoot, hydrateRoot, renderToString, useThreadChat;

before(async () => {
  React = await import("react");
  ({ renderToString } = await import("react-dom/server"));
  ({ useThreadChat } = await import("../src/react.js"));
});

after(() => dom?.window.close());

async function browser() {
  dom ??= new JSDOM("<!doctype html><div id='root'></div>");
  Object.assign(globalThis, { window: dom.window, document: dom.window.document, IS_REACT_ACT_ENVIRONMENT: true });
  ({ act } = React);
  ({ createRoot, hydrateRoot } = await import("react-dom/client"));
  document.body.innerHTML = "<div id='root'></div>";
  return document.getElementById("root");
}

const user = (id) => ({ id, role: "user", parts: [{ type: "text", text: id }] });

/** A thread with one run that answers at once. */
const story = (name) => ({
  seed: 1,
  runs: [
    {
      id: "run_1",
      answer: "ans_1",
      question: user("msg_1"),
      approval: null,
      status: "completed",
      history: [user("msg_1"), { id: "ans_1", role: "assistant", parts: [{ type: "text", text: name, state: "done" }] }],
      frames: [
        {
          seq: 1,
          is_void: false,
          chunks: [
            { type: "start", messageId: "ans_1" },
            { type: "data-run", data: { runId: "run_1", attempt: 1 }, transient: true },
            { type: "data-user-message", data: { message: user("msg_1") }, transient: true },
            { type: "text-start", id: "t" },
            { type: "text-delta", id: "t", delta: name },
            { type: "text-end", id: "t" },
            { type: "data-run-end", data: { runId: "run_1", status: "completed" }, transient: true },
            { type: "finish", finishReason: "stop" },
          ],
        },
      ],
    },
  ],
});

test("a server draws a thread of which nothing was read, and a browser goes on from there", async () => {
  const { client, gateway, counts } = await calm();
  const Chat = () => {
    const { loaded, status } = useThreadChat({ client, thread: "t" });
    return React.createElement("p", null, `${loaded} ${status}`);
  };
  const html = renderToString(React.createElement(Chat));
  assert.equal(html, "<p>false ready</p>");
  assert.equal(counts.made, 0);
  const container = await browser();
  container.innerHTML = html;
  const complaints = [];
  const drawn = await act(() => hydrateRoot(container, React.createElement(Chat), { onRecoverableError: (error) => complaints.push(error) }));
  await act(() => until(() => container.textContent === "true ready", "the thread to be read"));
  assert.deepEqual(complaints, []);
  await act(() => drawn.unmount());
  await gateway.close();
});

test("the callbacks and the run that count are those of the last render, and another thread is another chat", async () => {
  const { client, gateway, counts } = await calm("one");
  gateway.add("one", story("first"), { calm: true });
  gateway.add("two", story("second"), { calm: true });
  const container = await browser();
  const told = [];
  let send;
  const Chat = ({ thread, label }) => {
    const { messages, sendMessage } = useThreadChat({ client, thread, onFinish: () => told.push(label) });
    send = sendMessage;
    return React.createElement("p", null, messages.map(({ parts }) => parts.map(({ text }) => text).join()).join(" "));
  };
  const drawn = createRoot(container);
  const draw = (props) => act(() => drawn.render(React.createElement(React.StrictMode, null, React.createElement(Chat, props))));
  await draw({ thread: "one", label: "old" });
  const before = send;
  await draw({ thread: "one", label: "new" });
  assert.equal(send, before);
  await act(() => send(user("msg_1")));
  await act(() => until(() => told.length > 0, "the end of the run"));
  assert.deepEqual(told, ["new"]);
  await act(() => until(() => container.textContent === "msg_1 first", "the answer"));
  await draw({ thread: "two", label: "new" });
  assert.equal(container.textContent, "");
  await act(() => send(user("msg_1")));
  await act(() => until(() => container.textContent === "msg_1 second", "the other answer"));
  assert.deepEqual(told, ["new", "new"]);
  await act(() => drawn.unmount());
  await until(() => counts.open === 0, "no connection");
  await gateway.close();
});
