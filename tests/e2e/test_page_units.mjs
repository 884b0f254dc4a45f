/** The pure modules of the page, without a browser. */

import assert from "node:assert/strict";
import { test } from "node:test";

const WEB = new URL("../../services/gateway/decopilot_gateway/web/", import.meta.url);
const { MOVED_ON, NEVER, Notices, REACHED, SUCCEEDED } = await import(new URL("notices.js", WEB));
const { Silence } = await import(new URL("silence.js", WEB));
const { lookOf } = await import(new URL("threads.js", WEB));

test("a run that ended because somebody wished it is not shown as failed", () => {
  const looks = ["cancelled", "superseded", "error", "crashed", null, undefined].map((failureReason) =>
    lookOf({ status: "failed", failureReason }),
  );
  assert.deepEqual(looks, ["stopped", "replaced", "failed", "failed", "failed", "failed"]);
  assert.equal(lookOf({ status: "in_progress", failureReason: "cancelled" }), "in_progress");
  assert.equal(lookOf({ status: "toString" }), "unknown");
});

test("a notice lasts until what it tells is untrue, or until something else succeeds", () => {
  const refusals = [
    [{ status: 0 }, [REACHED, SUCCEEDED]],
    [{ status: 401 }, [REACHED, SUCCEEDED]],
    [{ status: 503, code: "broker_unavailable" }, [REACHED, SUCCEEDED]],
    [{ status: 429, code: "queue_full" }, [MOVED_ON, SUCCEEDED]],
    [{ status: 409, code: "message_conflict" }, [SUCCEEDED]],
  ];
  for (const [error, ending] of refusals) {
    for (const what of [REACHED, MOVED_ON, SUCCEEDED]) {
      const shown = [];
      const notices = new Notices(({ text }) => shown.push(text));
      notices.refused({ message: "No.", ...error });
      notices.happened(what);
      assert.equal(shown.length > 1, ending.includes(what), `${error.status}: ${what}`);
      assert.equal(shown.at(-1) === "", ending.includes(what));
    }
  }
});

test("that the thread was deleted is told as long as it is shown", () => {
  const shown = [];
  const notices = new Notices(({ text }) => shown.push(text));
  notices.tell("Deleted.", { until: NEVER });
  [REACHED, MOVED_ON, SUCCEEDED].forEach((what) => notices.happened(what));
  assert.deepEqual(shown, ["Deleted."]);
  notices.clear();
  assert.deepEqual(shown, ["Deleted.", ""]);
});

test("an answer is silent once it stood still for long, and until it goes on", async () => {
  let silence;
  await new Promise((resolve) => {
    silence = new Silence(resolve, 5);
    silence.watch(1);
    assert.equal(silence.isLong, false);
  });
  assert.equal(silence.isLong, true);
  silence.watch(1);
  assert.equal(silence.isLong, true);
  silence.watch(2);
  assert.equal(silence.isLong, false);
  silence.watch(undefined);
  assert.equal(silence.isLong, false);
});
