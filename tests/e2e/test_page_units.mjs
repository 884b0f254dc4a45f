/** The pure modules of the page, without a browser. */

import assert from "node:assert/strict";
import { test } from "node:test";

const WEB = new URL("../../services/gateway/decopilot_gateway/web/", import.meta.url);
const { MOVED_ON, NEVER, Notices, REACHED, SUCCEEDED } = await import(new URL("notices.js", WEB));
const { sentenceOf } = await import(new URL("connection.js", WEB));
const { Drafts } = await import(new URL("compose/drafts.js", WEB));
const { Outbox } = await import(new URL("compose/outbox.js", WEB));
const { agentChoices, canSearch, tierChoices } = await import(new URL("compose/choices.js", WEB));
const { isIn, lookOf, wordsOf } = await import(new URL("list/looks.js", WEB));
const { choicesOf, waitingIn } = await import(new URL("thread/waiting.js", WEB));
const { endingOf } = await import(new URL("thread/ending.js", WEB));
const { plain } = await import(new URL("thread/plain.js", WEB));
const { Silence } = await import(new URL("thread/silence.js", WEB));
const { distinct } = await import(new URL("thread/sources.js", WEB));
const { duration, resultOf, show, titleOf, usageText } = await import(new URL("thread/values.js", WEB));

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

test("why a thread failed is said where somebody can do something about it", () => {
  const words = ["timed_out", "crashed", "undeliverable", "error", "cancelled", undefined].map((failureReason) =>
    wordsOf({ status: "failed", failureReason }),
  );
  assert.deepEqual(words, ["Timed out", "Crashed", "Not taken up", "Failed", "Stopped", "Failed"]);
  assert.equal(wordsOf({ status: "requires_action" }), "Needs review");
});

test("a thread is in the views of how it stands, and in that of the archive alone once it is there", () => {
  const viewsOf = (thread) => ["all", "review", "running", "failed", "archived"].filter((view) => isIn(view, thread));
  assert.deepEqual(viewsOf({ status: "requires_action" }), ["all", "review"]);
  assert.deepEqual(viewsOf({ status: "failed", failureReason: "error" }), ["all", "failed"]);
  assert.deepEqual(viewsOf({ status: "failed", failureReason: "cancelled" }), ["all"]);
  assert.deepEqual(viewsOf({ status: "in_progress", archived: true }), ["archived"]);
});

test("a lost connection says why, and when it is tried again", () => {
  const said = (connection) => sentenceOf(connection, 10_000);
  assert.equal(said({ state: "live" }), "");
  assert.match(said({ state: "reconnecting", retryAt: 14_100 }), /connection was lost.*Trying again in 5 s\.$/);
  assert.match(said({ state: "reconnecting", retryAt: 9_000 }), /Trying again…$/);
  const full = { status: 429, code: "too_many_streams" };
  assert.match(said({ state: "reconnecting", error: full, retryAt: 11_000 }), /^Too many streams are open.* in 1 s\.$/);
  assert.match(said({ state: "reconnecting", error: { status: 503 }, retryAt: 0 }), /not available \(503\)/);
  assert.match(said({ state: "offline" }), /^You are offline\./);
});

test("tiers are offered where they differ, and those that a role may not use can be seen and not taken", () => {
  const tier = (model, allowed = true, title = model) => ({ title, model, allowed });
  assert.deepEqual(tierChoices({ tiers: { fast: tier("demo"), smart: tier("demo") } }), []);
  const tiers = { fast: tier("demo"), thinking: tier("far:large", false, "Thorough"), image: tier("far:image") };
  assert.deepEqual(tierChoices({ tiers }), [
    { value: "fast", text: "Fast: demo", isAllowed: true },
    { value: "thinking", text: "Thinking: Thorough", isAllowed: false },
  ]);
  assert.deepEqual([tierChoices(undefined), agentChoices(undefined)], [[], []]);
});

test("agents are offered where there are several, and a search where there is one", () => {
  const [first, second] = [
    { id: "default", title: "default" },
    { id: "poet", title: "Poet", description: "Rhymes" },
  ];
  assert.deepEqual(agentChoices({ agents: [first] }), []);
  assert.deepEqual(
    agentChoices({ agents: [first, second] }).map(({ value, text }) => [value, text]),
    [
      ["default", "default"],
      ["poet", "Poet"],
    ],
  );
  assert.deepEqual([canSearch({ modes: ["default", "web-search"] }), canSearch({}), canSearch()], [true, false, false]);
});

/** A browser's storage for a tab; returns what it keeps. */
function keepForTab() {
  const kept = new Map();
  globalThis.sessionStorage = {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => kept.set(name, value),
    removeItem: (name) => kept.delete(name),
  };
  return kept;
}

const sent = (id, more) => ({ thread: id[0], id, text: `text ${id}`, files: [], isPrivate: false, ...more });
const idsOf = (list) => list.map(({ id }) => id);

test("what is sent is kept in its order until it is settled, for who sent it, and what is broken is nothing", () => {
  const kept = keepForTab();
  const outbox = new Outbox("local me");
  for (const id of ["a1", "b1", "a2"]) outbox.put(sent(id, { isPrivate: id === "b1" }));
  assert.deepEqual([new Outbox("local me"), new Outbox("local you")].map(({ all }) => idsOf(all)), [["a1", "b1", "a2"], []]);
  assert.deepEqual([outbox.isPrivate("a"), outbox.isPrivate("b"), outbox.isSending("b"), outbox.isSending("c")], [false, true, true, false]);
  // As they stand in the box: the last one that is given back is the last one there.
  outbox.giveBack("a2");
  outbox.giveBack("a1", "a3");
  assert.deepEqual([idsOf(new Outbox("local me").back("a")), outbox.isSending("a")], [["a2", "a3"], false]);
  outbox.empty("a");
  outbox.empty("b");
  assert.deepEqual(idsOf(outbox.all), ["b1"]);
  outbox.settle("b1");
  assert.equal(kept.size, 0);
  for (const broken of ["{", "{}", "null", '[{"thread": "a"}, 7]']) {
    kept.set("decopilot-outbox local me", broken);
    assert.deepEqual(new Outbox("local me").all, []);
  }
  delete globalThis.sessionStorage;
});

test("what was given back is sent as the messages that it was, and what was changed as a new one", () => {
  const [f, g, h] = ["f", "g", "h"].map((url) => ({ type: "file", url }));
  const taken = (text, files = []) => {
    const outbox = new Outbox("local me");
    for (const one of [sent("a1"), sent("a2", { files: [f, g] }), sent("b1")]) {
      outbox.put(one);
      outbox.giveBack(one.id);
    }
    const messages = outbox.take("a", { text, files });
    assert.deepEqual(idsOf(outbox.all), ["b1"]);
    return messages.map(({ id, text: said, files: with_ }) => [id, said, with_.map(({ url }) => url).join("")]);
  };
  const first = ["a1", "text a1", ""];
  assert.deepEqual(taken("text a1\ntext a2", [f, g]), [first, ["a2", "text a2", "fg"]]);
  assert.deepEqual(taken("text a1\ntext a2\nand then\nmore", [h, f, g]), [
    first,
    ["a2", "text a2", "fg"],
    [undefined, "and then\nmore", "h"],
  ]);
  // Other files make another message.
  assert.deepEqual(taken("text a1\ntext a2", [f]), [first, [undefined, "text a2", "f"]]);
  assert.deepEqual(taken("text a1\ntext a2", [f, g, h]), [first, [undefined, "text a2", "fgh"]]);
  assert.deepEqual(taken("text a1 \ntext a2", [f, g]), [[undefined, "text a1 \ntext a2", "fg"]]);
  assert.deepEqual(taken("text a2", [f, g]), [[undefined, "text a2", "fg"]]);
});

test("drafts are kept by thread, and broken ones are none", () => {
  const kept = keepForTab();
  const drafts = new Drafts("local me");
  drafts.set("a", "half a thought");
  drafts.set("", "a new one");
  drafts.set("b", "");
  assert.deepEqual(
    ["a", "", "b", "__proto__"].map((thread) => new Drafts("local me").get(thread)),
    ["half a thought", "a new one", "", ""],
  );
  drafts.set("a", "");
  drafts.set("", "");
  assert.equal(kept.size, 0);
  kept.set("decopilot-drafts local me", "{");
  assert.equal(new Drafts("local me").get("a"), "");
  delete globalThis.sessionStorage;
});

test("what is to be decided comes by its kind: questions, then plans, then approvals", () => {
  const call = (id, type, more) => ({ type, toolCallId: id, state: "input-available", ...more });
  const parts = [
    call("c1", "tool-delete", { state: "approval-requested", approval: { id: "a1" } }),
    call("c2", "tool-propose_plan"),
    call("c3", "tool-user_ask"),
  ];
  const messages = [{ id: "m", role: "assistant", parts }];
  const pending = [
    ["approval", "a1"],
    ["answer", "c2"],
    ["answer", "c3"],
  ].map(([kind, id]) => ({ messageId: "m", kind, id }));
  const keys = (waiting, busy = []) =>
    waitingIn({ messages, pending: waiting.map((one) => ({ ...one, isBusy: busy.includes(one.id) })) }).map(
      ({ key }) => key,
    );
  assert.deepEqual(keys(pending), ["answer:c3"]);
  assert.deepEqual(keys(pending.slice(0, 2)), ["answer:c2"]);
  assert.deepEqual(keys(pending, ["c3"]), ["answer:c2"], "what is being decided makes way");
  assert.deepEqual(keys(pending.slice(0, 1), ["a1"]), ["approval:a1"]);
  assert.deepEqual(keys([]), []);
  assert.deepEqual(waitingIn({ messages: [], pending }), [], "of a message that is not there nothing can be decided");
});

test("a question that is to be confirmed has two answers, and options that are no list are none", () => {
  assert.deepEqual(
    choicesOf({ type: "confirm" }).map(({ value }) => value),
    ["yes", "no"],
  );
  assert.deepEqual(
    choicesOf({ options: ["a", 2] }).map(({ text }) => text),
    ["a", "2"],
  );
  assert.deepEqual([choicesOf({ options: "abc" }), choicesOf(), choicesOf({})], [[], [], []]);
});

test("how an answer ended is said by what helps most", () => {
  const kinds = [
    [{ finishReason: "stop", status: "completed" }, "none", undefined],
    [{ finishReason: "tool-calls", status: "requires_action" }, "none", undefined],
    [{ finishReason: "length", status: "failed", errorText: "x" }, "warning", "continue"],
    [{ finishReason: "content-filter", status: "failed", errorText: "x" }, "warning", "continue"],
    [{ finishReason: "other", status: "failed" }, "warning", "continue"],
    [{ finishReason: "error", status: "failed", errorText: "no", reason: "error" }, "error", "again"],
    [{ finishReason: "error", status: "failed", errorText: "no", reason: "timed_out" }, "error", "again"],
    [{ finishReason: "other", aborted: true, reason: "cancelled" }, "aside", undefined],
  ];
  for (const [end, kind, action] of kinds) {
    const told = endingOf(end);
    assert.deepEqual([told.kind, told.action], [kind, action], JSON.stringify(end));
  }
  assert.equal(endingOf(undefined).kind, "none");
  assert.equal(endingOf({ finishReason: "stop" }, { isEmpty: true }).text, "No response was generated.");
});

test("sources are named once, by their titles or else by their hosts", () => {
  const given = [
    { url: "https://www.a.org/x" },
    { url: "https://b.org", title: "B" },
    { url: "https://b.org" },
    { url: 1 },
  ];
  assert.deepEqual(
    distinct(given).map(({ title }) => title),
    ["a.org", "B"],
  );
  assert.deepEqual(distinct([{ url: "no address" }]), [{ url: "no address", title: "" }]);
});

test("what tools take, give and are called can be read", () => {
  assert.deepEqual(
    [titleOf({}, "delete_note"), titleOf({ title: "Bin" }, "x"), titleOf({}, "user_ask")],
    ["Delete note", "Bin", "Question"],
  );
  assert.equal(resultOf("user_ask", { response: "Porto" }), "Porto");
  assert.equal(resultOf("propose_plan", { approved: false, reason: "too long" }), "Not yet: too long");
  assert.equal(resultOf("look", { a: 1 }), '{"a":1}');
  assert.match(show("x".repeat(30_000)), /10,000 more characters$/);
  assert.deepEqual([duration(940), duration(12_400), duration(65_000)], ["0.9 s", "12 s", "1 min 5 s"]);
  assert.equal(usageText({ inputTokens: 12_345, outputTokens: 7 }), "12.3k tokens in · 7 out");
  assert.deepEqual(
    [usageText(undefined), usageText({ inputTokens: 0, outputTokens: 0 }), usageText({ inputTokens: "1" })],
    ["", "", ""],
  );
});

test("what is read aloud, and what a subtask's line says, has no signs of Markdown in it", () => {
  const said = [
    ["In **Oslo** it is *mild*, `12°`.", "In Oslo it is mild, 12°."],
    ["# Plan\n\n- [x] one\n- __two__\n\n> said", "Plan\none\ntwo\nsaid"],
    ["```js\nlet a_b = 2 * 3 * 4;\n```", "let a_b = 2 * 3 * 4;"],
    ["See [the log](https://example.com/a_b \"it\").", "See the log."],
    ["| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n| 1 | 2 |"],
    ["2 * 3 and snake_case_names", "2 * 3 and snake_case_names"],
  ];
  for (const [markdown, expected] of said) assert.equal(plain(markdown), expected);
  assert.equal(resultOf("subtask", "It is **done**."), "It is done.");
  assert.equal(resultOf("get_note", "**as stored**"), "**as stored**");
});
