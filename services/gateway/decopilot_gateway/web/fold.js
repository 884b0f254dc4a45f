/**
 * The fold: the chunks of one run become one UIMessage (names and rules of the AI SDK's own fold).
 *
 * It changes the fold it is given, because copying a message for each of thousands of deltas is
 * quadratic. Chunks come from models and tools, so everything keyed by their text lives in Maps,
 * and what breaks the protocol is shown as well as it can be instead of ending the chat.
 */

const OUTPUTS = new Set(["output-available", "output-error", "output-denied"]);

/** Start folding; `seed` is the message that the run continues, if there is one already. */
export function createFold(id, seed) {
  const message = seed ? structuredClone(seed) : { id, role: "assistant", parts: [] };
  const tools = new Map(message.parts.filter((part) => part?.toolCallId).map((part) => [part.toolCallId, part]));
  return { message, tools, open: new Map(), done: false };
}

/** Take in one chunk. Transient data belongs to the thread, not to the message, and is passed over. */
export function foldChunk(fold, chunk) {
  const { message } = fold;
  switch (chunk.type) {
    case "start":
    case "message-metadata":
      mergeMetadata(message, chunk.messageMetadata);
      break;
    case "start-step":
      message.parts.push({ type: "step-start" });
      break;
    case "finish-step":
      closeOpen(fold);
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
      Object.assign(toolOf(fold, chunk), { state: "input-streaming", rawInput: "" });
      break;
    case "tool-input-delta": {
      const part = toolOf(fold, chunk);
      part.rawInput = (part.rawInput ?? "") + String(chunk.inputTextDelta ?? "");
      break;
    }
    case "tool-input-available":
      Object.assign(toolOf(fold, chunk), { state: "input-available", input: chunk.input, rawInput: undefined });
      break;
    case "tool-input-error":
      Object.assign(toolOf(fold, chunk), { state: "output-error", input: chunk.input, errorText: chunk.errorText });
      break;
    case "tool-approval-request":
      Object.assign(toolOf(fold, chunk), { state: "approval-requested", approval: { id: chunk.approvalId } });
      break;
    case "tool-output-available":
      Object.assign(toolOf(fold, chunk), {
        state: "output-available",
        output: chunk.output,
        preliminary: chunk.preliminary === true || undefined,
      });
      break;
    case "tool-output-error":
      Object.assign(toolOf(fold, chunk), { state: "output-error", errorText: chunk.errorText });
      break;
    case "tool-output-denied":
      toolOf(fold, chunk).state = "output-denied";
      break;
    case "file":
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

/** Tell whether a tool call has come to its end. */
export function isToolDone(part) {
  return OUTPUTS.has(part.state) && !part.preliminary;
}

/** The name of a tool part's tool. */
export function toolName(part) {
  return part.type === "dynamic-tool" ? String(part.toolName) : part.type.slice("tool-".length);
}

const kindOf = (chunk) => chunk.type.slice(0, chunk.type.lastIndexOf("-"));
const keyOf = (kind, id) => `${kind} ${id}`;

function openPart(fold, type, id) {
  const part = { type, text: "", state: "streaming" };
  fold.message.parts.push(part);
  fold.open.set(keyOf(type, id), part);
  return part;
}

function partOf(fold, chunk) {
  const kind = kindOf(chunk);
  return fold.open.get(keyOf(kind, chunk.id)) ?? openPart(fold, kind, chunk.id);
}

function closeOpen(fold) {
  for (const part of fold.open.values()) part.state = "done";
  fold.open.clear();
}

function toolOf(fold, chunk) {
  let part = fold.tools.get(chunk.toolCallId);
  if (!part) {
    const name = String(chunk.toolName ?? "tool");
    part = { type: chunk.dynamic ? "dynamic-tool" : `tool-${name}`, toolCallId: chunk.toolCallId };
    if (chunk.dynamic) part.toolName = name;
    fold.message.parts.push(part);
    fold.tools.set(chunk.toolCallId, part);
  }
  if (chunk.title) part.title = String(chunk.title);
  return part;
}

function putData(message, { type, id, data }) {
  const part = id === undefined ? undefined : message.parts.find((other) => other.type === type && other.id === id);
  if (part) part.data = data;
  else message.parts.push(id === undefined ? { type, data } : { type, id, data });
}

function mergeMetadata(message, metadata) {
  if (isObject(metadata)) message.metadata = merge(message.metadata, metadata);
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Deep merge. `Object.fromEntries` makes own properties, so a key `__proto__` stays a mere key. */
function merge(old, new_) {
  if (!isObject(old) || !isObject(new_)) return new_;
  const entries = new Map(Object.entries(old));
  for (const [key, value] of Object.entries(new_)) entries.set(key, merge(entries.get(key), value));
  return Object.fromEntries(entries);
}
