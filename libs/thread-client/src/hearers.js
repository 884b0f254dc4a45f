/** What an application is told of a thread: each thing once, though the stream may tell it again. */

import { isAfter } from "./cursor.js";
import { report } from "./errors.js";
import { toolName } from "./fold.js";

/** @typedef {import("./types.js").Callbacks} Callbacks */
/** @typedef {import("./types.js").Chunk} Chunk */

export class Hearers {
  /** @type {Set<Callbacks>} */
  #hearers = new Set();
  /** @type {Set<string>} */
  #called = new Set();
  /** @type {string | undefined} Up to where chunks were told. */
  #told;

  /**
   * Returns what ends it.
   * @param {Callbacks} callbacks
   */
  add(callbacks) {
    const own = { ...callbacks };
    this.#hearers.add(own);
    return () => void this.#hearers.delete(own);
  }

  /**
   * What a callback throws is its own affair.
   * @template {keyof Callbacks} Name
   * @param {Name} name
   * @param {Parameters<NonNullable<Callbacks[Name]>>[0]} told
   */
  say(name, told) {
    for (const hearer of [...this.#hearers]) {
      try {
        /** @type {any} */ (hearer[name])?.(told);
      } catch (error) {
        report(error);
      }
    }
  }

  /**
   * Tell of a chunk of the answer `messageId`; returns false if it was told before.
   * @param {string | undefined} cursor
   * @param {Chunk} chunk
   * @param {string | undefined} messageId
   */
  hear(cursor, chunk, messageId) {
    if (cursor && this.#told && !isAfter(cursor, this.#told)) return false;
    this.#told = cursor ?? this.#told;
    if (chunk.type.startsWith("data-")) this.say("onData", chunk);
    if (chunk.type === "tool-input-available" && !chunk.providerExecuted) {
      const { toolCallId, toolName, input, dynamic } = chunk;
      this.#call(messageId, { toolCallId, toolName, input, ...(dynamic ? { dynamic } : {}) });
    }
    return true;
  }

  /** The log was put back to an earlier state: its places are told of anew. */
  forget() {
    this.#told = undefined;
  }

  /**
   * Calls that were made while no tab was there wait for their answer all the same.
   * @param {import("./conversation.js").Conversation} conversation
   */
  callWhatWaits({ pending, messages }) {
    for (const { messageId, kind, id } of pending) {
      const message = messages.find((one) => one.id === messageId);
      const part = message?.parts.find(({ toolCallId }) => toolCallId === id);
      if (kind === "answer" && part) this.#call(messageId, { toolCallId: id, toolName: toolName(part), input: part.input });
    }
  }

  /**
   * An attempt that takes over tells a call again: it is made once.
   * @param {string | undefined} messageId
   * @param {import("./types.js").ToolCall} toolCall
   */
  #call(messageId, toolCall) {
    const key = `${messageId} ${toolCall.toolCallId}`;
    if (this.#called.has(key)) return;
    this.#called.add(key);
    this.say("onToolCall", { toolCall });
  }
}
