/** What an answer waits for a person to decide, by the server's own rules. */

/** @typedef {import("./types.js").UIMessage} UIMessage */
/** @typedef {import("./types.js").Resolution} Resolution */

const NOT_APPROVED = "The user went on without approving this tool call.";
const NOT_ANSWERED = "The user went on without answering.";

/**
 * The key of what a part waits for; undefined if it waits for nobody.
 * @param {any} part
 * @returns {string | undefined}
 */
export function keyOf(part) {
  if (part?.toolCallId === undefined || part.providerExecuted) return undefined;
  if (part.state === "approval-requested" && part.approval) return `approval:${part.approval.id}`;
  return part.state === "input-available" ? `answer:${part.toolCallId}` : undefined;
}

/**
 * The keys by which a part may be waited for, whatever was decided of it.
 * @param {any} part
 */
export function keysOf({ toolCallId, approval }) {
  return toolCallId === undefined ? [] : [...(approval ? [`approval:${approval.id}`] : []), `answer:${toolCallId}`];
}

/**
 * The keys of all that a message waits for.
 * @param {UIMessage} message
 * @returns {Set<string>}
 */
export const keysIn = (message) => new Set(message.parts.map(keyOf).filter((key) => key !== undefined));

/**
 * The ids of calls that died with their runner, and that are not made again just so.
 * @param {UIMessage} message
 */
export function interruptedIn({ parts }) {
  return new Set(parts.filter(({ type }) => type === "data-interrupted-call").map(({ id }) => id));
}

/**
 * The key that a resolution answers.
 * @param {Resolution} resolution
 */
export function keyOfResolution({ approvalId, toolCallId }) {
  return approvalId === undefined ? `answer:${toolCallId}` : `approval:${approvalId}`;
}

/**
 * A part with its answer, as an AI SDK client shows it until the run goes on.
 * @param {any} part
 * @param {Resolution} resolution
 */
export function answered(part, { approved, reason, output, errorText }) {
  if (part.state === "approval-requested") {
    const approval = { ...part.approval, approved: approved === true, ...(reason ? { reason: String(reason) } : {}) };
    return { ...part, state: "approval-responded", approval };
  }
  return errorText === undefined
    ? { ...part, state: "output-available", output }
    : { ...part, state: "output-error", errorText: String(errorText) };
}

/**
 * A part that nobody will answer any more.
 * @param {any} part
 */
export function unanswered(part) {
  if (part.state === "approval-requested" || part.state === "approval-responded") {
    return { ...part, state: "output-denied", approval: { ...part.approval, approved: false, reason: NOT_APPROVED } };
  }
  return keyOf(part) === undefined ? part : { ...part, state: "output-error", errorText: NOT_ANSWERED };
}
