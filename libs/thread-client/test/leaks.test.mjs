/** Whoever comes and goes leaves nothing open: no connection, no timer, no listener. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { JSDOM } from "jsdom";

import { ThreadChat } from "../src/index.js";
import { calm, timers, until } from "./counting.mjs";

const CYCLES = 1_000;
/** The listeners that are on the page. */
const listening = new Set();
let dom, React, root, useThreadChat, act;

before(async () => {
  dom = new JSDOM("<!doctype html><div id='root'></div>");
  Object.assign(globalThis, { window: dom.window, document: dom.window.document, IS_REACT_ACT_ENVIRONMENT: true });
  const isOfPresence = (type) => ["visibilitychange", "resume"].includes(type);
  const [add, remove] = [document.addEventListener.bind(document), document.removeEventListener.bind(document)];
  document.addEventListener = (type, listener, options) => {
    if (isOfPresence(type)) listening.add(listener);
    add(type, listener, options);
  };
  document.removeEventListener = (type, listener, options) => {
    listening.delete(listener);
    remove(type, listener, options);
  };
  React = await import("react");
  ({ act } = React);
  ({ useThreadChat } = await import("../src/react.js"));
  root = await import("react-dom/client");
});

after(() => dom.window.close());

async function nothingIsLeft({ gateway, told, counts }, timersBefore) {
  await until(() => told.connections === 0 && counts.open === 0, "no connection");
  await until(() => timers() <= timersBefore, "no timer");
  assert.equal(listening.size, 0);
  assert.ok(counts.made > 0);
  await gateway.close();
}

test("a thousand subscriptions come and go", async () => {
  const parts = await calm();
  const timersBefore = timers();
  for (let cycle = 0; cycle < CYCLES; cycle += 1) {
    const chat = new ThreadChat({ client: parts.client, thread: "t" });
    const leave = chat.subscribe(() => {});
    if (cycle % 50 === 0) await until(() => chat.getSnapshot().connection.state === "live", "a connection");
    if (cycle % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    leave();
    await until(() => chat.getSnapshot().connection.state === "idle", "the end of it");
  }
  assert.equal(parts.counts.peak, 1);
  await nothingIsLeft(parts, timersBefore);
});

test("a thousand components come and go in strict mode, two at a time, over one connection", async () => {
  const parts = await calm();
  const timersBefore = timers();
  const Chat = ({ thread }) => {
    const { connection } = useThreadChat({ client: parts.client, thread, onFinish: () => {} });
    return React.createElement("p", null, connection.state);
  };
  const both = (key) => React.createElement(React.StrictMode, { key }, [0, 1].map((place) => React.createElement(Chat, { thread: "t", key: place })));
  const drawn = root.createRoot(document.getElementById("root"));
  for (let cycle = 0; cycle < CYCLES; cycle += 1) {
    // Every other time one page takes the place of another; else nothing is there in between.
    await act(() => drawn.render(both(cycle)));
    if (cycle % 100 === 0) await act(() => until(() => document.body.textContent === "livelive", "both to be live"));
    if (cycle % 2 === 0) await act(() => drawn.render(null));
  }
  await act(() => drawn.unmount());
  assert.equal(parts.counts.peak, 1);
  await nothingIsLeft(parts, timersBefore);
});
