/** Where things are. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { DecopilotClient } from "../src/index.js";

test("the org's paths stand below where the gateway is", () => {
  const at = (url) => new DecopilotClient({ url, org: "a b" }).url("watch", { cursor: "1", none: undefined }).href;
  assert.equal(at("https://chat.example.org"), "https://chat.example.org/a%20b/watch?cursor=1");
  assert.equal(at("https://chat.example.org/"), "https://chat.example.org/a%20b/watch?cursor=1");
  assert.equal(at("https://chat.example.org/sub"), "https://chat.example.org/sub/a%20b/watch?cursor=1");
  assert.equal(at("https://chat.example.org/sub/?token=x#t"), "https://chat.example.org/sub/a%20b/watch?cursor=1");
  assert.equal(at("https://chat.example.org/sub/index.html"), "https://chat.example.org/sub/a%20b/watch?cursor=1");
});
