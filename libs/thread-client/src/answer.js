/** The answer that is being told: the message as it grows, how far its tools are, and how it ended. */

import { createFold, foldChunk, isToolDone } from "./fold.js";

/** @typedef {import("./types.js").UIMessage} UIMessage */
/** @typedef {import("./types.js").Chunk} Chunk */

export class Answer {
  #fold;
  /** @type {ReadonlyMap<string, import("./types.js").ToolProgress>} How far tools are, by the id of their call. */
  progress = new Map();

  /**
   * `base`: what there was of it before this run; `runId`: its run, as far as that is known.
   * @param {string} id
   * @param {UIMessage | undefined} base
   * @param {string | undefined} runId
   */
  constructor(id, base, runId) {
    this.base = base;
    this.runId = runId;
    this.#fold = createFold(id, base);
    this.#fold.message.role = "assistant";
  }

  /** The message, which changes as it grows. */
  get message() {
    return this.#fold.message;
  }

  /** @param {Chunk} chunk */
  take(chunk) {
    if (chunk.type === "data-tool-progress") {
      this.progress = new Map(this.progress).set(chunk.data?.toolCallId, chunk.data);
    } else foldChunk(this.#fold, chunk);
  }

  /** @returns {import("./types.js").RunEnd} How it ended. */
  get end() {
    const { message, finishReason, errorText, aborted, end } = this.#fold;
    return { finishReason, errorText, aborted, status: end?.status, reason: end?.reason ?? message.metadata?.failureReason };
  }
}

/**
 * Whether an answer is about to say more: no tool is at work, and nothing else of it moves.
 * @param {UIMessage | undefined} message
 */
export function isSpeaking(message) {
  const parts = message?.parts ?? [];
  const isBegun = parts.some(({ type }) => type !== "step-start");
  const isBusy = parts.some((part) => part.toolCallId !== undefined && !isToolDone(part));
  const isThinking = parts.at(-1)?.type === "reasoning" && parts.at(-1)?.state === "streaming";
  return isBegun && !isBusy && !isThinking;
}
