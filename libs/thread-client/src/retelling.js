/** A message told again in chunks, to a reader that holds a part of it (names and rules of the AI SDK's own stream). */

import { isToolDone, toolName } from "./fold.js";

/** @typedef {import("./types.js").Approval} Approval */
/** @typedef {import("./types.js").Chunk} Chunk */
/** @typedef {import("./types.js").SdkLine} SdkLine */
/** @typedef {import("./types.js").UIMessage} UIMessage */
/** @typedef {import("./types.js").UIPart} UIPart */

/**
 * The chunks that make `message` of what is `shown` of it; undefined where something shown is not in the message, since
 * no chunk takes that back. Of so many of its first parts as are `given` the reader may know the outcome ahead of the
 * message.
 * @param {UIMessage} shown
 * @param {UIMessage} message
 * @param {SdkLine} sdk
 * @param {number} [given]
 * @returns {Chunk[] | undefined}
 */
export function difference(shown, message, sdk, given = 0) {
  const { length } = shown.parts;
  if (length > message.parts.length) return undefined;
  const isKept = shown.parts.every((part, place) => isSamePart(part, message.parts[place], place < given));
  if (!isKept) return undefined;
  const changes = shown.parts.flatMap((part, place) => changesOf(part, message.parts[place], sdk));
  return [...changes, ...tell(message.parts.slice(length), sdk)];
}

/**
 * The chunks that take back what is shown of the step that is being made and tell what `message` has of it, and whether
 * the step that the reader is left with has yet to begin in the message. Needs a reader that knows `reset-step` (`ai`
 * 7); undefined where more than one step would have to go.
 * @param {UIMessage} shown
 * @param {UIMessage} message
 * @param {SdkLine} sdk
 * @param {number} [given]
 * @returns {{chunks: Chunk[], isAhead: boolean} | undefined}
 */
export function reset(shown, message, sdk, given = 0) {
  const start = lastStep(shown.parts);
  const kept = { ...shown, parts: shown.parts.slice(0, start + 1) };
  const isOpen = start >= 0 && message.parts.length > start && message.parts[start].type === "step-start";
  // The step began behind what counts: its beginning can't be taken back, but comes again.
  if (start >= 0 && !isOpen) kept.parts.pop();
  const told = difference(kept, message, sdk, given);
  if (told === undefined || (start >= 0 && !isOpen && message.parts.length !== start)) return undefined;
  return { chunks: [{ type: "reset-step" }, ...told], isAhead: start >= 0 && !isOpen };
}

/**
 * The chunks of some parts, in their order; no call that has an output is announced as one to be made.
 * @param {UIPart[]} parts
 * @param {SdkLine} sdk
 * @returns {Generator<Chunk>}
 */
export function* tell(parts, sdk) {
  let isStepOpen = false;
  for (const [place, part] of parts.entries()) {
    if (part.type === "step-start") {
      if (isStepOpen) yield { type: "finish-step" };
      yield { type: "start-step" };
      isStepOpen = true;
    } else if (part.type === "text" || part.type === "reasoning") yield* tellText(part, `retold-${place}`);
    else if (part.toolCallId !== undefined) yield* tellCall(part, sdk);
    else yield { ...part };
  }
}

/**
 * @param {UIPart} part
 * @param {string} id
 * @returns {Generator<Chunk>}
 */
function* tellText({ type, text, providerMetadata }, id) {
  yield { type: `${type}-start`, id };
  if (text) yield { type: `${type}-delta`, id, delta: text };
  yield { type: `${type}-end`, id, ...optional({ providerMetadata }) };
}

/**
 * @param {UIPart} part
 * @param {SdkLine} sdk
 * @returns {Generator<Chunk>}
 */
function* tellCall(part, sdk) {
  const { toolCallId, providerExecuted, title, state, callProviderMetadata, rawInput } = part;
  const dynamic = part.type === "dynamic-tool" || undefined;
  const input = part.input ?? rawInput ?? null;
  const call = { toolCallId, toolName: toolName(part), ...optional({ providerExecuted, dynamic, title }) };
  if (state === "output-error" && part.input === undefined) {
    yield { type: "tool-input-error", ...call, input, errorText: part.errorText };
    return;
  }
  if (isToolDone(part) || state === "input-streaming") {
    yield { type: "tool-input-start", ...call };
    const told = state === "input-streaming" ? (rawInput ?? "") : JSON.stringify(input);
    if (told) yield { type: "tool-input-delta", toolCallId, inputTextDelta: told };
  } else {
    const metadata = optional({ providerMetadata: callProviderMetadata });
    yield { type: "tool-input-available", ...call, input, ...metadata };
  }
  if (part.approval && sdk !== 5) yield* tellApproval(part, sdk);
  yield* tellOutcome(part, sdk);
}

/**
 * @param {UIPart} part
 * @param {SdkLine} sdk
 * @returns {Generator<Chunk>}
 */
function* tellApproval({ toolCallId, approval }, sdk) {
  // Without a way to tell the verdict, the request would stand there as if nobody had answered it.
  const isAnswered = approval.approved !== undefined;
  if (!isAnswered || sdk === 7) yield { type: "tool-approval-request", approvalId: approval.id, toolCallId };
  if (isAnswered && sdk === 7) yield verdict(approval);
}

/**
 * @param {Approval} approval
 * @returns {Chunk}
 */
const verdict = ({ id, approved, reason }) => ({
  type: "tool-approval-response",
  approvalId: id,
  approved,
  ...optional({ reason }),
});

/**
 * @param {UIPart} part
 * @param {SdkLine} sdk
 * @returns {Generator<Chunk>}
 */
function* tellOutcome({ toolCallId, type, state, output, preliminary, errorText, approval }, sdk) {
  const dynamic = type === "dynamic-tool" || undefined;
  const of = { toolCallId, ...optional({ dynamic }) };
  if (state === "output-available") {
    yield { type: "tool-output-available", ...of, output, ...optional({ preliminary: preliminary || undefined }) };
  } else if (state === "output-error") yield { type: "tool-output-error", ...of, errorText };
  else if (state === "output-denied" && sdk === 5) {
    yield { type: "tool-output-error", ...of, errorText: approval?.reason ?? "The user denied this tool call." };
  } else if (state === "output-denied") yield { type: "tool-output-denied", toolCallId };
}

/**
 * Whether one part may have become the other.
 * @param {UIPart} part
 * @param {UIPart} other
 * @param {boolean} isGiven
 */
function isSamePart(part, other, isGiven) {
  if (part.type !== other.type || part.toolCallId !== other.toolCallId) return false;
  if (part.toolCallId === undefined) return part.text === other.text;
  return isGiven || !isToolDone(part) || part.state === other.state || other.state === "output-denied";
}

/**
 * What became of a call since; everything else is the same.
 * @param {UIPart} part
 * @param {UIPart} other
 * @param {SdkLine} sdk
 * @returns {Chunk[]}
 */
function changesOf(part, other, sdk) {
  if (part.toolCallId === undefined) return [];
  if (part.state === "input-streaming") return part.state === other.state ? [] : [...tellCall(other, sdk)];
  const isVerdict = other.approval?.approved !== undefined && part.approval?.approved === undefined;
  const verdicts = isVerdict && !isToolDone(part) && sdk === 7 ? [...tellApproval(other, sdk)] : [];
  return part.state === other.state ? verdicts : [...verdicts, ...tellOutcome(other, sdk)];
}

/** @param {UIPart[]} parts */
const lastStep = (parts) => parts.findLastIndex(({ type }) => type === "step-start");

/**
 * Only what is there: a field may be absent in a chunk, and must not be null.
 * @param {Record<string, unknown>} fields
 * @returns {Record<string, unknown>}
 */
function optional(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null));
}
