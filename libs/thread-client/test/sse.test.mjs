/** The parser of server-sent events. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser } from "../src/sse.js";

test("events are the same however the text is cut", () => {
  const text =
    ': hello\r\nretry: 1500\r\n\r\nid: 1-0\ndata: {"a":1}\n\n' +
    "event: x\ndata: b\ndata: c\n\nid: 9-9\n\ndata: lost";
  const whole = new EventParser().push(text);
  assert.deepEqual(whole, [
    { id: "1-0", event: "message", data: '{"a":1}' },
    { id: undefined, event: "x", data: "b\nc" },
  ]);
  for (let size = 1; size < text.length; size += 1) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
    assert.deepEqual(events, whole);
    assert.equal(parser.retry_ms, 1500);
  }
});

test("an event of many megabytes is read as fast as its text comes", () => {
  const [piece, pieces] = ["x".repeat(64 << 10), 512];
  const parser = new EventParser();
  parser.push("id: 1-0\ndata: ");
  const began = performance.now();
  for (let at = 0; at < pieces; at += 1) assert.deepEqual(parser.push(piece), []);
  const [{ data }] = parser.push("\n\n");
  assert.equal(data.length, piece.length * pieces);
  assert.ok(performance.now() - began < 5_000);
});
