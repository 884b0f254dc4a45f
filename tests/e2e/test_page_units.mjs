/** The pure modules of the page, without a browser. */

import assert from "node:assert/strict";
import { test } from "node:test";

const LIBRARY = new URL("../../libs/thread-client/src/", import.meta.url);
const WEB = new URL("../../services/gateway/decopilot_gateway/web/", import.meta.url);
const { createFold, foldChunk } = await import(new URL("fold.js", LIBRARY));
const { Conversation, isAfter } = await import(new URL("conversation.js", LIBRARY));
const { MOVED_ON, NEVER, Notices, REACHED, SUCCEEDED } = await import(new URL("notices.js", WEB));
const { Silence } = await import(new URL("thread/silence.js", WEB));
const { EventParser } = await import(new URL("sse.js", LIBRARY));
const { lookOf } = await import(new URL("list/threads.js", WEB));

function fold(...chunks) {
  const made = createFold("msg_a");
  for (const chunk of chunks) foldChunk(made, chunk);
  return made;
}

const question = (id, text = "hi") => ({ id, role: "user", parts: [{ type: "text", text }] });
const transient = (type, data) => ({ type, data, transient: true });
const run = (answer, message, runId) => [
  { type: "start", messageId: answer },
  transient("data-run", { runId, attempt: 1 }),
  transient("data-user-message", { message }),
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: "yes" },
  { type: "text-end", id: "t" },
  { type: "finish", finishReason: "stop" },
];

function feed(conversation, chunks, first = 1) {
  return chunks.map((chunk, index) => conversation.accept(`${first + index}-0`, chunk));
}

const ids = ({ messages }) => messages.map(({ id }) => id);

test("keys that name prototypes stay mere keys", () => {
  const hostile = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}');
  const { message } = fold(
    { type: "start", messageId: "msg_a", messageMetadata: hostile },
    { type: "message-metadata", messageMetadata: hostile },
    { type: "tool-input-available", toolCallId: "__proto__", toolName: "constructor", input: hostile },
    { type: "tool-output-available", toolCallId: "__proto__", output: hostile },
    { type: "text-delta", id: "__proto__", delta: "a" },
    { type: "text-delta", id: "constructor", delta: "b" },
    { type: "toString" },
  );
  assert.equal({}.polluted, undefined);
  assert.deepEqual(Object.keys(message.metadata), ["__proto__", "constructor"]);
  assert.deepEqual(
    message.parts.map(({ type, text }) => [type, text]),
    [["tool-constructor", undefined], ["text", "a"], ["text", "b"]],
  );
});

test("a finish closes what is open and keeps its reason", () => {
  const made = fold(
    { type: "text-start", id: "t" },
    { type: "error", errorText: "no" },
    { type: "finish", finishReason: "error" },
  );
  assert.deepEqual([made.done, made.finishReason, made.errorText], [true, "error", "no"]);
  assert.deepEqual(made.message.parts, [{ type: "text", text: "", state: "done" }]);
});

test("the question that the tab sent itself is shown once, and ahead of its answer in a passive tab", () => {
  const [mine, passive] = [new Conversation(), new Conversation()];
  mine.offer(question("msg_1"));
  for (const conversation of [mine, passive]) {
    feed(conversation, run("msg_a", question("msg_1"), "run_1"));
    assert.deepEqual(ids(conversation), ["msg_1", "msg_a"]);
  }
});

test("what stood behind a message that is answered anew is gone, but for what is sent just then", () => {
  const answer = (id) => ({ id, role: "assistant", parts: [{ type: "text", text: "yes" }] });
  const held = [question("msg_1"), answer("msg_a"), question("msg_2"), answer("msg_b")];
  const [anew, dropped] = [run("msg_c", question("msg_1"), "run_3"), transient("data-messages-dropped", { after: "msg_1" })];
  anew.splice(2, 0, dropped);
  const [early, late] = [new Conversation(), new Conversation()];
  early.load({ messages: held, cursor: "9-0", status: "completed" });
  early.offer(question("msg_3"));
  feed(early, anew, 10);
  assert.deepEqual(ids(early).sort(), ["msg_1", "msg_3", "msg_c"]);
  // Who reads the history behind the event holds them no more when the chunk comes.
  late.load({ messages: held.slice(0, 1), cursor: "9-0", status: "in_progress", activeRun: { runId: "run_3" } });
  feed(late, anew, 10);
  assert.deepEqual(ids(late), ["msg_1", "msg_c"]);
});

test("a 202 that its run has overtaken leaves nothing to wait for", () => {
  const conversation = new Conversation();
  const message = question("msg_1");
  conversation.offer(message);
  feed(conversation, run("msg_a", message, "run_1"));
  conversation.confirm(message, { runId: "run_1", status: "in_progress", cursor: "0-0" });
  assert.equal(conversation.active, false);
  assert.equal(conversation.cursor, "7-0");
});

test("a refused message is taken back, one that the stream has shown is not", () => {
  const conversation = new Conversation();
  conversation.offer(question("msg_1"));
  assert.equal(conversation.withdraw(question("msg_1")), true);
  conversation.offer(question("msg_2"));
  conversation.accept("1-0", transient("data-user-message", { message: question("msg_2") }));
  assert.equal(conversation.withdraw(question("msg_2")), false);
  assert.deepEqual(ids(conversation), ["msg_2"]);
});

test("that a model call is tried again is known until the answer says anything else", () => {
  const conversation = new Conversation();
  const told = { attempt: 2, delayMs: 900, category: "rate_limit" };
  const chunks = run("msg_a", question("msg_1"), "run_1");
  feed(conversation, [...chunks.slice(0, 3), transient("data-retry", told)]);
  assert.deepEqual(conversation.retry, told);
  conversation.accept("5-0", chunks[3]);
  assert.equal(conversation.retry, undefined);
});

test("after a reset the chunks that the history holds already are passed over", () => {
  const conversation = new Conversation();
  const chunks = run("msg_a", question("msg_1"), "run_1");
  feed(conversation, chunks.slice(0, 4));
  assert.equal(conversation.accept(undefined, transient("data-thread-reset", { cursor: "4-0" })), "reset");
  const answer = { id: "msg_a", role: "assistant", parts: [{ type: "text", text: "yes" }] };
  conversation.load({ messages: [question("msg_1"), answer], cursor: "7-0", status: "completed" });
  feed(conversation, chunks.slice(4), 5);
  assert.deepEqual(conversation.messages, [question("msg_1"), answer]);
  assert.equal(conversation.active, false);
});

test("the end of a run whose beginning is lost asks for the history", () => {
  const conversation = new Conversation();
  conversation.load({ messages: [question("msg_1")], cursor: "1-0", status: "in_progress" });
  assert.equal(conversation.waiting, true);
  const rest = [{ type: "text-delta", id: "t", delta: "x" }, { type: "finish" }];
  assert.deepEqual(feed(conversation, rest, 5), [undefined, "lost"]);
});

test("a run that is replayed from its start, or that continues an answer, is not doubled", () => {
  const conversation = new Conversation();
  const chunks = run("msg_a", question("msg_1"), "run_1");
  feed(conversation, chunks.slice(0, 6));
  feed(conversation, chunks, 20);
  assert.deepEqual(conversation.messages[1].parts, [{ type: "text", text: "yes", state: "done" }]);
  feed(conversation, [{ type: "start", messageId: "msg_a" }, { type: "text-start", id: "u" }], 40);
  assert.equal(conversation.messages[1].parts.length, 2);
  assert.deepEqual(ids(conversation), ["msg_1", "msg_a"]);
});

const call = (state, more = {}) => ({ type: "tool-delete", toolCallId: "c", state, input: { name: "a" }, ...more });
const answer = (id, ...parts) => ({ id, role: "assistant", parts });
const rewind = (message, runId = "run_1", attempt = 2) => transient("data-run-rewind", { runId, attempt, message });
const runEnd = (status, reason, runId = "run_1") => transient("data-run-end", { runId, status, reason });
const asking = (id, runId) => [
  { type: "start", messageId: id },
  transient("data-run", { runId, attempt: 1 }),
  { type: "tool-input-available", toolCallId: "c", toolName: "delete", input: { name: "a" } },
  { type: "tool-approval-request", toolCallId: "c", approvalId: "ap" },
  runEnd("requires_action", undefined, runId),
  { type: "finish", finishReason: "tool-calls" },
];
const history = (messages, more) => ({ messages, cursor: "9-9", ...more });

test("a rewind replaces the message and the fold goes on from it", () => {
  const whole = answer("msg_a", { type: "step-start" }, call("input-available"));
  const made = fold(
    { type: "text-start", id: "t" },
    { type: "text-delta", id: "t", delta: "half done" },
    rewind(whole),
    { type: "text-delta", id: "t", delta: "anew" },
    { type: "tool-output-available", toolCallId: "c", output: 1 },
  );
  assert.deepEqual(made.message.parts, [
    { type: "step-start" },
    call("output-available", { output: 1 }),
    { type: "text", text: "anew", state: "streaming" },
  ]);
  assert.equal(whole.parts[1].state, "input-available", "the chunk's own message is left alone");
});

test("a rewind that holds no message changes nothing", () => {
  const data = [undefined, {}, { message: { id: "msg_a" } }, { message: { id: "msg_a", parts: [null] } }];
  const chunks = data.map((one) => transient("data-run-rewind", one));
  const made = fold({ type: "text-delta", id: "t", delta: "a" }, ...chunks);
  assert.equal(made.message.parts[0].text, "a");
});

test("a call id that a later step uses again is another call", () => {
  const begin = { type: "tool-input-available", toolCallId: "c", toolName: "delete" };
  const { message } = fold(
    { ...begin, input: 1 },
    { type: "start-step" },
    { ...begin, input: 2 },
    { type: "tool-output-available", toolCallId: "c", output: "second" },
  );
  assert.deepEqual(
    message.parts.filter(({ toolCallId }) => toolCallId).map(({ input, output }) => [input, output]),
    [[1, undefined], [2, "second"]],
  );
});

test("a rewind in mid answer keeps its place and its end", () => {
  const conversation = new Conversation();
  feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 5));
  const kept = answer("msg_a", { type: "text", text: "kept", state: "done" });
  feed(conversation, [transient("data-run", { runId: "run_1", attempt: 2 }), rewind(kept)], 20);
  assert.equal(conversation.answering, conversation.messages[1]);
  assert.deepEqual(conversation.messages[1], kept);
  assert.equal(feed(conversation, [{ type: "finish", finishReason: "stop" }], 30)[0], "end");
  assert.deepEqual(ids(conversation), ["msg_1", "msg_a"]);
});

test("a rewind tells an answer whose beginning was missed", () => {
  const conversation = new Conversation();
  const activeRun = { runId: "run_1", attempt: 1, cancelRequested: false };
  conversation.load({ messages: [question("msg_1")], cursor: "1-0", status: "in_progress", activeRun });
  feed(conversation, [{ type: "text-delta", id: "t", delta: "lost" }, rewind(answer("msg_a"))], 5);
  assert.equal(conversation.answering.id, "msg_a");
  assert.equal(conversation.runId, "run_1");
  assert.equal(feed(conversation, [{ type: "finish", finishReason: "stop" }], 9)[0], "end");
});

test("a continuation goes on with the message that waited instead of a second one", () => {
  const conversation = new Conversation();
  feed(conversation, asking("msg_a", "run_1"));
  assert.deepEqual(conversation.asks, { messageId: "msg_a", keys: new Set(["approval:ap"]), busy: new Set() });
  const resolution = { approvalId: "ap", approved: true, reason: "go" };
  conversation.decide(resolution);
  assert.deepEqual(conversation.asks.busy, new Set(["approval:ap"]));
  conversation.decided(resolution, { runId: "run_2", status: "in_progress" });
  assert.deepEqual([conversation.waiting, conversation.runId], [true, "run_2"]);
  const verdict = { id: "ap", approved: true, reason: "go" };
  const responded = answer("msg_a", call("approval-responded", { approval: verdict }));
  assert.deepEqual(conversation.messages, [responded]);
  feed(
    conversation,
    [
      { type: "start", messageId: "msg_a" },
      transient("data-run", { runId: "run_2", attempt: 1 }),
      rewind(responded, "run_2", 1),
      { type: "tool-output-available", toolCallId: "c", output: "gone" },
      runEnd("completed", undefined, "run_2"),
      { type: "finish", finishReason: "stop" },
    ],
    20,
  );
  const whole = answer("msg_a", call("output-available", { approval: verdict, output: "gone" }));
  assert.deepEqual(conversation.messages, [whole]);
  assert.deepEqual([conversation.asks, conversation.active], [undefined, false]);
});

test("a continuation that overtakes its 202 is not waited for", () => {
  const conversation = new Conversation();
  feed(conversation, asking("msg_a", "run_1"));
  const begun = [{ type: "start", messageId: "msg_a" }, transient("data-run", { runId: "run_2", attempt: 1 })];
  feed(conversation, begun, 20);
  conversation.decided({ approvalId: "ap", approved: true }, { runId: "run_2", status: "in_progress" });
  feed(conversation, [runEnd("completed"), { type: "finish" }], 30);
  assert.equal(conversation.active, false);
});

test("of several approvals one is decided and the others still wait", () => {
  const conversation = new Conversation();
  const parts = ["a", "b"].map((id) => ({ ...call("approval-requested", { approval: { id } }), toolCallId: id }));
  const pending = ["a", "b"].map((id) => ({ kind: "approval", id, toolCallId: id, toolName: "delete" }));
  conversation.load(history([answer("msg_a", ...parts)], { status: "requires_action", pending }));
  conversation.decided({ approvalId: "a", approved: false }, { runId: "run_1", status: "requires_action" });
  assert.deepEqual(conversation.asks.keys, new Set(["approval:b"]));
  assert.equal(conversation.active, false);
  const states = conversation.messages[0].parts.map(({ state }) => state);
  assert.deepEqual(states, ["approval-responded", "approval-requested"]);
});

test("what was pending is denied when a newer message goes on without it", () => {
  const conversation = new Conversation();
  feed(conversation, asking("msg_a", "run_1"));
  feed(conversation, run("msg_b", question("msg_2"), "run_2"), 20);
  assert.equal(conversation.messages[0].parts[0].state, "output-denied");
  assert.equal(conversation.messages[0].parts[0].approval.approved, false);
  assert.equal(conversation.asks, undefined);
  assert.deepEqual(ids(conversation), ["msg_a", "msg_2", "msg_b"]);
});

test("a newer history tells what was decided elsewhere, an older one nothing", () => {
  const conversation = new Conversation();
  feed(conversation, asking("msg_a", "run_1"));
  const denied = answer("msg_a", call("output-denied", { approval: { id: "ap", approved: false } }));
  conversation.catchUp({ messages: [denied], cursor: "3-0", status: "completed", pending: [] });
  assert.deepEqual(conversation.asks.keys, new Set(["approval:ap"]));
  conversation.catchUp({ messages: [denied], cursor: "6-0", status: "completed", pending: [] });
  assert.deepEqual([conversation.messages, conversation.asks], [[denied], undefined]);
});

test("only what the server calls pending is asked for after a reload", () => {
  const parts = [call("input-available"), { ...call("input-available"), toolCallId: "d" }];
  const pending = [{ kind: "answer", id: "d", toolCallId: "d", toolName: "delete" }];
  const conversation = new Conversation();
  conversation.load(history([answer("msg_a", ...parts)], { status: "requires_action", pending }));
  assert.deepEqual(conversation.asks.keys, new Set(["answer:d"]));
  conversation.load(history([answer("msg_a", ...parts)], { status: "completed" }));
  assert.equal(conversation.asks, undefined);
});

test("how a run ended is known from its stream and from history alike", () => {
  const [seen, read] = [new Conversation(), new Conversation()];
  const metadata = { finishReason: "other", failureReason: "superseded", errorText: "no" };
  const finish = { type: "finish", finishReason: "other", messageMetadata: metadata };
  const end = [runEnd("failed", "superseded"), { type: "abort" }, finish];
  feed(seen, [...run("msg_a", question("msg_1"), "run_1").slice(0, 6), ...end]);
  read.load(history([{ ...answer("msg_a"), metadata }], { status: "failed" }));
  for (const { ends } of [seen, read]) {
    const { reason, status, finishReason } = ends.get("msg_a");
    assert.deepEqual([reason, status, finishReason], ["superseded", "failed", "other"]);
  }
});

test("a message sent while a run goes on waits in line until its own run shows it", () => {
  const conversation = new Conversation();
  feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 5));
  conversation.offer(question("msg_2"));
  assert.deepEqual([ids(conversation), conversation.queue.length], [["msg_1", "msg_a"], 1]);
  assert.equal(conversation.isUnconfirmed("msg_2"), true);
  conversation.confirm(question("msg_2"), { runId: "run_2", status: "queued", cursor: "1-0" });
  feed(conversation, [runEnd("completed"), { type: "finish" }], 20);
  assert.equal(conversation.waiting, true, "its turn comes");
  feed(conversation, run("msg_b", question("msg_2"), "run_2"), 30);
  assert.deepEqual([ids(conversation), conversation.queue], [["msg_1", "msg_a", "msg_2", "msg_b"], []]);
  assert.equal(conversation.active, false);
});

test("a message is shown once however its 202 and its run race", () => {
  for (const overtaken of [true, false]) {
    const conversation = new Conversation();
    feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 5));
    conversation.offer(question("msg_2"));
    const receipt = { runId: "run_2", status: "queued", cursor: "1-0" };
    if (!overtaken) conversation.confirm(question("msg_2"), receipt);
    feed(conversation, [{ type: "finish" }, ...run("msg_b", question("msg_2"), "run_2")], 20);
    if (overtaken) conversation.confirm(question("msg_2"), receipt);
    conversation.line([{ messageId: "msg_2", runId: "run_2", message: question("msg_2"), interrupts: false }]);
    assert.deepEqual([ids(conversation), conversation.queue], [["msg_1", "msg_a", "msg_2", "msg_b"], []]);
    assert.equal(conversation.active, false);
  }
});

test("a message that was thought to start at once and waits in line leaves the chat, and the other way round", () => {
  const conversation = new Conversation();
  conversation.offer(question("msg_1"));
  conversation.confirm(question("msg_1"), { runId: "run_1", status: "queued", cursor: "1-0" });
  assert.deepEqual([ids(conversation), conversation.queue.length], [[], 1]);
  conversation.offer(question("msg_2"));
  conversation.confirm(question("msg_2"), { runId: "run_2", status: "in_progress", cursor: "1-0" });
  assert.deepEqual([ids(conversation), conversation.queue.length], [["msg_2"], 1]);
  assert.equal(conversation.runId, "run_2");
});

test("an interrupting message goes to the head of the line and the run is being stopped", () => {
  const conversation = new Conversation();
  feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 5));
  for (const [id, interrupts] of [["msg_2", false], ["msg_3", true]]) {
    conversation.offer(question(id), { interrupts });
    conversation.confirm(question(id), { runId: `run_${id}`, status: "queued", cursor: "1-0" }, { interrupts });
  }
  assert.deepEqual(conversation.queue.map(({ messageId }) => messageId), ["msg_3", "msg_2"]);
  assert.equal(conversation.stopping, true);
});

test("a refused message leaves the line, one that is on its way survives a newer queue", () => {
  const conversation = new Conversation();
  feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 5));
  conversation.offer(question("msg_2"));
  conversation.line([]);
  assert.equal(conversation.has("msg_2"), true);
  assert.equal(conversation.withdraw(question("msg_2")), true);
  assert.equal(conversation.has("msg_2"), false);
  conversation.offer(question("msg_3"));
  conversation.confirm(question("msg_3"), { runId: "run_3", status: "withdrawn", cursor: "1-0" });
  assert.equal(conversation.has("msg_3"), false);
});

test("the run to stop is the one that goes on, and stopping lasts until its end", () => {
  const conversation = new Conversation();
  assert.equal(conversation.runId, undefined);
  const activeRun = { runId: "run_1", attempt: 0, cancelRequested: true };
  conversation.load(history([question("msg_1")], { status: "in_progress", activeRun }));
  assert.deepEqual([conversation.runId, conversation.stopping], ["run_1", true]);
  feed(conversation, run("msg_a", question("msg_1"), "run_1").slice(0, 4), 20);
  assert.deepEqual([conversation.runId, conversation.stopping], ["run_1", true]);
  conversation.stop("run_1", false);
  assert.equal(conversation.stopping, false);
  conversation.stop("run_1");
  feed(conversation, [runEnd("failed", "cancelled"), { type: "abort" }, { type: "finish" }], 30);
  assert.deepEqual([conversation.runId, conversation.stopping], [undefined, false]);
});

test("a queue held by a question is not waited for", () => {
  const conversation = new Conversation();
  const queued = { messageId: "msg_2", runId: "run_2", message: question("msg_2"), interrupts: false };
  conversation.load(history([answer("msg_a")], { status: "requires_action", pending: [], queue: [queued] }));
  assert.deepEqual([conversation.active, conversation.queue.length], [false, 1]);
});

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

test("an answer's next words are waited for while no tool is at work and nothing else moves", () => {
  const conversation = new Conversation();
  const isWaitedFor = (...chunks) => {
    feed(conversation, chunks, (first += 10));
    return conversation.speaking !== undefined;
  };
  let first = 0;
  const call = { toolCallId: "c", toolName: "delete" };
  assert.equal(isWaitedFor({ type: "start", messageId: "msg_a" }, { type: "start-step" }), false);
  assert.equal(isWaitedFor({ type: "reasoning-delta", id: "r", delta: "hm" }), false);
  assert.equal(isWaitedFor({ type: "reasoning-end", id: "r" }), true);
  assert.equal(isWaitedFor({ type: "text-delta", id: "t", delta: "a" }), true);
  assert.equal(isWaitedFor({ type: "tool-input-start", ...call }), false);
  assert.equal(isWaitedFor({ type: "tool-input-available", ...call, input: 1 }), false);
  assert.equal(isWaitedFor({ type: "tool-output-available", toolCallId: "c", output: 1 }), true);
  const before = conversation.speaking;
  assert.equal(isWaitedFor(transient("data-run", { runId: "run_1", attempt: 2 })), true);
  assert.notEqual(conversation.speaking, before, "a takeover is a sign of life");
  conversation.stop("run_1");
  assert.equal(conversation.speaking, undefined);
  assert.equal(isWaitedFor({ type: "finish", finishReason: "stop" }), false);
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

test("cursors are ordered as numbers", () => {
  assert.equal(isAfter("10-0", "9-5"), true);
  assert.equal(isAfter("9-10", "9-9"), true);
  assert.equal(isAfter("9-9", "9-9"), false);
});

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
