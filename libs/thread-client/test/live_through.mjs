/**
 * Live through stories, read from standard input as JSON lines, with a real ThreadChat over a real gateway of the tests;
 * tells as JSON lines what each ended with, and what was wrong on the way.
 */

import { createInterface } from "node:readline";

import { ApiError, DecopilotClient, ThreadChat } from "../src/index.js";
import { chance, Gateway } from "./gateway.mjs";

const DEADLINE_MS = Number(process.env.DEADLINE_MS ?? 20_000);
const TRIES = 60;
const AT_ONCE = 24;

/** Freeze all of it: whatever is shown may not change any more. */
export function deepFreeze(thing) {
  if (typeof thing !== "object" || thing === null || Object.isFrozen(thing) || thing instanceof Error) return thing;
  Object.freeze(thing);
  const members = thing instanceof Map ? [...thing.values()] : thing instanceof Set ? [] : Object.values(thing);
  members.forEach(deepFreeze);
  return thing;
}

const lengthOf = ({ parts }) => parts.reduce((sum, { text }) => sum + (text?.length ?? 0), 0);

/** Watches what is shown for what a reader would see flicker. */
class Reader {
  faults = [];
  #lengths = new Map();
  #gone = new Set();
  #shown = new Set();

  constructor(mayShrink, mayGo) {
    this.mayShrink = mayShrink;
    this.mayGo = mayGo;
  }

  see({ messages, queue }) {
    const now = new Set([...messages.map(({ id }) => id), ...queue.map(({ messageId }) => messageId)]);
    if (now.size < messages.length + queue.length) this.faults.push(`twice: ${[...messages, ...queue].map((one) => one.id ?? one.messageId)}`);
    for (const id of this.#shown) if (!now.has(id)) this.#gone.add(id);
    for (const id of now) if (this.#gone.has(id) && !this.mayGo(id)) this.faults.push(`${id} went and came back`);
    for (const message of messages) {
      const before = this.#lengths.get(message.id) ?? 0;
      if (lengthOf(message) < before && !this.mayShrink(message.id)) this.faults.push(`${message.id} shrank`);
      this.#lengths.set(message.id, lengthOf(message));
    }
    this.#shown = now;
  }
}

async function until(isTrue, deadline) {
  while (!isTrue() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 2));
  return isTrue();
}

/** A fetch that writes down what is asked and what is said; with `TRACE` in the environment faults tell of it. */
function traced(trace) {
  if (!process.env.TRACE) return fetch;
  const note = (text) => trace.push(`${performance.now().toFixed(0)} ${text}`);
  return async (url, init) => {
    const asked = `${init?.method ?? "GET"} ${url.pathname.split("/").slice(3).join("/")}${url.search}`;
    const response = await fetch(url, init).catch((error) => {
      note(`${asked}: ${error.message}`);
      throw error;
    });
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      note(`${asked}: ${response.status} ${(await response.clone().text().catch(String)).replace(/"parts":.*?\]\}/g, "…")}`);
      return response;
    }
    note(asked);
    const text = new TextDecoder();
    const listening = new TransformStream({
      transform(bytes, controller) {
        text.decode(bytes, { stream: true }).split("\n\n").filter(Boolean).forEach((event) => note(`  ${event.slice(0, 90)}`));
        controller.enqueue(bytes);
      },
    });
    return new Response(response.body.pipeThrough(listening), response);
  };
}

async function liveThrough(gateway, story) {
  const trace = [];
  const name = `thread-${story.seed}`;
  const thread = gateway.add(name, story);
  const rng = chance(story.seed ^ 0x5bd1e995);
  const client = new DecopilotClient({ url: gateway.url, org: "local", fetch: traced(trace) });
  const finished = [];
  const fresh = rng.is(0.3);
  const refused = new Set();
  const chat = new ThreadChat({ client, thread: name, fresh, throttle_ms: 0, onFinish: (end) => finished.push(end.message.id) });
  const rewound = new Set(story.runs.filter(({ frames }) => frames.some((one) => one.is_void)).map(({ answer }) => answer));
  const reader = new Reader((id) => rewound.has(id), (id) => refused.has(id));
  const deciding = new Set();
  const decide = async (id) => {
    deciding.add(id);
    await chat.addToolApprovalResponse({ id, approved: true }).catch(() => {});
    deciding.delete(id);
  };
  const see = () => {
    const shown = deepFreeze(chat.getSnapshot());
    if (process.env.TRACE) trace.push(`${performance.now().toFixed(0)} shown: ${shown.status} ${shown.messages.map(({ id, parts }) => `${id}(${parts.length})`)} | ${shown.queue.map(({ messageId }) => messageId)}`);
    reader.see(shown);
    if (shown.connection.state === "reconnecting") setTimeout(chat.wake, 1 + rng.below(5));
    for (const { id, isBusy } of shown.pending) if (!isBusy && !deciding.has(id)) decide(id);
  };
  let leave = chat.subscribe(see);
  const deadline = Date.now() + DEADLINE_MS;
  const send = async (question) => {
    for (let tries = 0; tries < TRIES; tries += 1) {
      try {
        return await chat.sendMessage(question);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        refused.add(question.id);
      }
    }
    throw new Error(`${question.id} is never taken`);
  };
  for (const { question } of story.runs.filter((run) => run.question)) {
    // A new message would deny what is asked, and this story has it approved.
    const place = story.runs.findIndex((run) => run.question?.id === question.id);
    const isWaited = story.runs.slice(0, place).some((run) => run.approval);
    if (isWaited || rng.is(0.5)) await until(() => thread.runs.slice(0, place).every(({ state }) => state === "ended"), deadline);
    else await new Promise((resolve) => setTimeout(resolve, rng.below(10)));
    if (rng.is(0.2)) {
      leave();
      await new Promise((resolve) => setTimeout(resolve, rng.below(10)));
      leave = chat.subscribe(see);
    }
    await send(question);
  }
  const { history } = story.runs.at(-1);
  // What is approved is nobody's turn until the run that goes on with it is heard of.
  const isTold = (message) => message?.metadata?.finishReason === history.at(-1)?.metadata?.finishReason;
  const isDone = () => {
    const { isActive, messages, queue, connection, pending } = chat.getSnapshot();
    return thread.isOver && !isActive && messages.length === history.length && isTold(messages.at(-1)) && queue.length === 0 && connection.state === "live" && pending.length === 0;
  };
  const isOver = await until(isDone, deadline);
  await new Promise((resolve) => setTimeout(resolve, 10));
  see();
  const { messages, ...rest } = chat.getSnapshot();
  const faults = [...reader.faults];
  if (!isOver) faults.push(`never done: ${JSON.stringify({ ...rest, error: rest.error?.message, states: thread.runs.map(({ state }) => state) })}`);
  if (finished.length > story.runs.length) faults.push(`finished ${finished}`);
  // A history that is read late has answers whose end was not seen.
  if (fresh && !thread.resets && finished.length !== story.runs.length) faults.push(`finished ${finished}, of ${story.runs.length}`);
  leave();
  if (faults.length > 0 && process.env.TRACE) process.stderr.write(`\n== ${story.seed} ${faults[0]}\n${trace.join("\n")}\n`);
  return { seed: story.seed, messages, faults };
}

const gateway = await new Gateway().listen();
const lines = createInterface({ input: process.stdin });
const stories = [];
for await (const line of lines) stories.push(JSON.parse(line));
async function work() {
  for (let story = stories.shift(); story; story = stories.shift()) {
    const { seed } = story;
    const lived = await liveThrough(gateway, story).catch((error) => ({ seed, messages: [], faults: [String(error.stack)] }));
    process.stdout.write(`${JSON.stringify(lived)}\n`);
  }
}
await Promise.all(Array.from({ length: AT_ONCE }, work));
await gateway.close();
