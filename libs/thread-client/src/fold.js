/**
 * The fold: the chunks of one run become one UIMessage (names and rules of the AI SDK's own fold).
 *
 * It changes the fold it is given, because copying a message for each of thousands of deltas is
 * quadratic. Chunks come from models and tools, so everything keyed by their text lives in Maps,
 * and what breaks the protocol is shown as well as it can be instead of ending the chat.
 */

/** @typedef {import("./types.js").UIMessage} UIMessage */
/** @typedef {import("./types.js").Chunk} Chunk */
/**
 * A message that grows. `open` are the texts that are still being said; `calls` and `callsOfStep` the calls of tools;
 * the rest tells of its end.
 * @typedef {{message: UIMessage, open: Map<string, any>, calls: Map<string, any>, callsOfStep: any[], done: boolean,
 *   finishReason?: string, errorText?: string, aborted?: boolean, end?: {status?: string, reason?: string}}} Fold
 */

const OUTPUTS = new Set(["output-available", "output-error", "output-denied"]);
/** What belongs to a state of a call, and is gone in the next one unless that one says it anew. */
const OF_STATE = ["input", "rawInput", "output", "errorText", "preliminary"];

/**
 * Start folding; `seed` is the message that the run continues, if there is one already.
 * @param {string} id
 * @param {UIMessage} [seed]
 */
export function createFold(id, seed) {
  const fold = /** @type {Fold} */ ({ done: false });
  restore(fold, seed ?? { id, role: "assistant", parts: [] });
  return fold;
}

/**
 * Go on with a message as it is; what was folded before is forgotten.
 * @param {Fold} fold
 * @param {UIMessage} message
 */
function restore(fold, message) {
  fold.message = structuredClone(message);
  fold.open = new Map();
  fold.calls = new Map();
  fold.callsOfStep = [];
  for (const part of fold.message.parts) {
    if (part.type === "step-start") fold.callsOfStep = [];
    else if (part.toolCallId !== undefined) remember(fold, part);
  }
}

/**
 * @param {Fold} fold
 * @param {any} part
 */
function remember(fold, part) {
  fold.calls.set(part.toolCallId, part);
  fold.callsOfStep.push(part);
}

/**
 * Take in one chunk. Transient data belongs to the thread, and is passed over but for what is named here.
 * @param {Fold} fold
 * @param {Chunk} chunk
 */
export function foldChunk(fold, chunk) {
  const { message } = fold;
  switch (chunk.type) {
    case "start":
      if (typeof chunk.messageId === "string" && chunk.messageId !== message.id) {
        restore(fold, { id: chunk.messageId, role: "assistant", parts: [] });
      }
      mergeMetadata(fold.message, chunk.messageMetadata);
      break;
    case "message-metadata":
      mergeMetadata(message, chunk.messageMetadata);
      break;
    case "data-run-rewind":
      // An attempt died: this is the message without what it left half done. Or an answer that waited is gone on with.
      if (isMessage(chunk.data?.message)) restore(fold, chunk.data.message);
      break;
    case "data-run-end":
      fold.end = { status: chunk.data?.status, reason: chunk.data?.reason };
      break;
    case "start-step":
      message.parts.push({ type: "step-start" });
      fold.callsOfStep = [];
      break;
    case "finish-step":
      closeOpen(fold);
      break;
    case "reset-step":
      restore(fold, { ...message, parts: stepsBefore(message.parts) });
      break;
    case "text-start":
    case "reasoning-start":
      openPart(fold, kindOf(chunk), chunk.id);
      break;
    case "text-delta":
    case "reasoning-delta":
      if (typeof chunk.delta === "string") partOf(fold, chunk).text += chunk.delta;
      break;
    case "text-end":
    case "reasoning-end":
      partOf(fold, chunk).state = "done";
      fold.open.delete(keyOf(kindOf(chunk), chunk.id));
      break;
    case "tool-input-start":
      change(callToBegin(fold, chunk), "input-streaming", { rawInput: "" });
      break;
    case "tool-input-delta": {
      const part = callOf(fold, chunk);
      part.state = "input-streaming";
      part.rawInput = (part.rawInput ?? "") + String(chunk.inputTextDelta ?? "");
      break;
    }
    case "tool-input-available":
      change(callToBegin(fold, chunk), "input-available", { input: chunk.input });
      break;
    case "tool-input-error":
      change(callToBegin(fold, chunk), "output-error", { input: chunk.input, errorText: chunk.errorText });
      break;
    case "tool-approval-request": {
      const approval = /** @type {import("./types.js").Approval} */ ({ id: chunk.approvalId });
      if (chunk.reason) approval.requestReason = String(chunk.reason);
      Object.assign(callOf(fold, chunk), { state: "approval-requested", approval });
      break;
    }
    case "tool-approval-response": {
      const part = message.parts.find(({ approval }) => approval && approval.id === chunk.approvalId);
      if (part) respond(part, chunk);
      break;
    }
    case "tool-output-available": {
      const part = callOf(fold, chunk);
      const { output, preliminary } = chunk;
      change(part, "output-available", { input: part.input, output, preliminary });
      break;
    }
    case "tool-output-error": {
      const part = callOf(fold, chunk);
      change(part, "output-error", { input: part.input, rawInput: part.rawInput, errorText: chunk.errorText });
      break;
    }
    case "tool-output-denied":
      callOf(fold, chunk).state = "output-denied";
      break;
    case "custom":
    case "file":
    case "reasoning-file":
    case "steering-message":
    case "source-url":
    case "source-document":
      message.parts.push({ ...chunk });
      break;
    case "error":
      fold.errorText = String(chunk.errorText ?? "");
      break;
    case "abort":
      fold.aborted = true;
      break;
    case "finish":
      mergeMetadata(message, chunk.messageMetadata);
      closeOpen(fold);
      fold.finishReason = chunk.finishReason ?? "stop";
      fold.done = true;
      break;
    default:
      if (String(chunk.type).startsWith("data-") && !chunk.transient) putData(message, chunk);
  }
}

/**
 * Tell whether a thing has the shape of a message whose parts can be drawn.
 * @param {any} thing
 * @returns {thing is UIMessage}
 */
export function isMessage(thing) {
  return typeof thing?.id === "string" && Array.isArray(thing.parts) && thing.parts.every(isObject);
}

/**
 * Put a person's verdict on a call that asked for one.
 * @param {any} part
 * @param {any} verdict
 */
export function respond(part, { approved, reason }) {
  const told = { approved: approved === true, ...(reason ? { reason: String(reason) } : {}) };
  Object.assign(part, { state: "approval-responded", approval: { ...part.approval, ...told } });
}

/**
 * Tell whether a tool call has come to its end.
 * @param {any} part
 */
export function isToolDone(part) {
  return OUTPUTS.has(part.state) && !part.preliminary;
}

/**
 * The name of a tool part's tool.
 * @param {any} part
 */
export function toolName(part) {
  return isDynamic(part) ? String(part.toolName) : part.type.slice("tool-".length);
}

/** @param {Chunk} chunk */
const kindOf = (chunk) => chunk.type.slice(0, chunk.type.lastIndexOf("-"));
/**
 * @param {string} kind
 * @param {unknown} id
 */
const keyOf = (kind, id) => `${kind} ${id}`;
/** @param {any[]} parts */
const stepsBefore = (parts) => parts.slice(0, parts.findLastIndex(({ type }) => type === "step-start") + 1);

/**
 * @param {Fold} fold
 * @param {string} type
 * @param {unknown} id
 */
function openPart(fold, type, id) {
  const part = { type, ...(type === "reasoning" ? { id } : {}), text: "", state: "streaming" };
  fold.message.parts.push(part);
  fold.open.set(keyOf(type, id), part);
  return part;
}

/**
 * @param {Fold} fold
 * @param {Chunk} chunk
 */
function partOf(fold, chunk) {
  const kind = kindOf(chunk);
  return fold.open.get(keyOf(kind, chunk.id)) ?? openPart(fold, kind, chunk.id);
}

/** @param {Fold} fold */
function closeOpen(fold) {
  for (const part of fold.open.values()) part.state = "done";
  fold.open.clear();
}

/**
 * A later step may use the id of a call again, for another one.
 * @param {Fold} fold
 * @param {Chunk} chunk
 */
function callToBegin(fold, chunk) {
  const isSame = (/** @type {any} */ part) => chunk.type === "tool-input-error" || isDynamic(part) === (chunk.dynamic === true);
  const known = fold.callsOfStep.find((part) => part.toolCallId === chunk.toolCallId && isSame(part));
  return named(known ?? newCall(fold, chunk), chunk);
}

/**
 * @param {Fold} fold
 * @param {Chunk} chunk
 */
function callOf(fold, chunk) {
  const ofStep = fold.callsOfStep.find(({ toolCallId }) => toolCallId === chunk.toolCallId);
  const known = ofStep ?? fold.calls.get(chunk.toolCallId);
  return named(known ?? newCall(fold, chunk), chunk);
}

/** @param {any} part */
const isDynamic = (part) => part.type === "dynamic-tool";

/**
 * @param {Fold} fold
 * @param {Chunk} chunk
 */
function newCall(fold, chunk) {
  const name = String(chunk.toolName ?? "tool");
  /** @type {any} */
  const part = { type: chunk.dynamic ? "dynamic-tool" : `tool-${name}`, toolCallId: chunk.toolCallId };
  if (chunk.dynamic) part.toolName = name;
  fold.message.parts.push(part);
  remember(fold, part);
  return part;
}

/**
 * @param {any} part
 * @param {Chunk} chunk
 */
function named(part, { title, providerExecuted }) {
  if (title) part.title = String(title);
  if (providerExecuted) part.providerExecuted = true;
  return part;
}

/**
 * @param {any} part
 * @param {string} state
 * @param {Record<string, unknown>} told
 */
function change(part, state, told) {
  for (const name of OF_STATE) delete part[name];
  for (const [name, value] of Object.entries(told)) if (value !== undefined) part[name] = value;
  part.state = state;
}

/**
 * @param {UIMessage} message
 * @param {Chunk} chunk
 */
function putData(message, { type, id, data }) {
  const part = id === undefined ? undefined : message.parts.find((other) => other.type === type && other.id === id);
  if (part) part.data = data;
  else message.parts.push(id === undefined ? { type, data } : { type, id, data });
}

/**
 * @param {UIMessage} message
 * @param {unknown} metadata
 */
function mergeMetadata(message, metadata) {
  if (isObject(metadata)) message.metadata = merge(message.metadata, metadata);
}

/** @param {any} value */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Deep merge. `Object.fromEntries` makes own properties, so a key `__proto__` stays a mere key.
 * @param {any} old
 * @param {any} new_
 * @returns {any}
 */
function merge(old, new_) {
  if (!isObject(old) || !isObject(new_)) return new_;
  const entries = new Map(Object.entries(old));
  for (const [key, value] of Object.entries(new_)) entries.set(key, merge(entries.get(key), value));
  return Object.fromEntries(entries);
}
