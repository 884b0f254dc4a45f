/** The order of cursors. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { isAfter } from "../src/cursor.js";

test("cursors are ordered as numbers", () => {
  assert.equal(isAfter("10-0", "9-5"), true);
  assert.equal(isAfter("9-10", "9-9"), true);
  assert.equal(isAfter("9-9", "9-9"), false);
});
