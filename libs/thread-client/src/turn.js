/** One run's chunks as a stream that closes behind its `finish`, whatever becomes of connections and runners meanwhile. */

import { createFold, foldChunk, isMessage, toolName } from "./fold.js";
import { difference, reset, tell } from "./retelling.js";
import { Stream } from "./stream.js";

/** @typedef {import("./types.js").Chunk} Chunk */
/** @typedef {import("./types.js").SdkLine} SdkLine */
/** @typedef {import("./types.js").UIMessage} UIMessage */

const PROBE_MS = 10_000;
const THREAD_CHUNKS = new Set(["data-thread-reset", "data-thread-deleted"]);

/** What was told of an answer counts no more, and the reader can't be made to forget it. */
export class RetellError extends Error {
  /** @param {string | undefined} messageId the answer's */
  constructor(messageId) {
    super("The answer has to be told anew.");
    this.messageId = messageId;
  }
}

export class Turn {
  /**
   * The chunks, for one reader.
   * @type {ReadableStream<Chunk>}
   */
  stream;
  /**
   * Resolves to the id of the run as soon as it is known; to undefined if the turn ends before.
   * @type {Promise<string | undefined>}
   */
  run;
  #client;
  #thread;
  #sdk;
  #replay;
  #cursor;
  #runId;
  #questionId;
  #answerId;
  /** The answer as it was told; nothing until it is followed. */
  #fold = createFold("");
  #seed;
  #onEnd;
  #source;
  /** @type {ReadableStreamDefaultController<Chunk> | undefined} */
  #controller;
  #wake = () => {};
  /** @type {(runId: string | undefined) => void} */
  #named = () => {};
  /** @type {Chunk | undefined} */
  #start;
  /** @type {Chunk[]} */
  #unplaced = [];
  #isFollowing = false;
  #isOver = false;
  #isGone = false;
  #isStepAhead = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #probing;

  /**
   * - `thread`, `sdk`: whose chunks, and the line of `ai` that reads them
   * - `cursor`: where to begin; without one, at the active run
   * - `replay`: how a stream begins (docs/protocol.md 30)
   * - `runId`: the run to wait for; without one, the first that comes
   * - `questionId`: the message that it answers, or `seed`, the answer it goes on with, as the reader holds it
   * - `onEnd(error)`: called once, with an error unless the run was told to its end; returns the one to tell the reader
   * @param {import("./client.js").DecopilotClient} client
   * @param {{
   *   thread: string,
   *   sdk: SdkLine,
   *   cursor?: string | null,
   *   replay?: string,
   *   runId?: string,
   *   questionId?: string,
   *   seed?: UIMessage,
   *   onEnd: (error: unknown) => unknown,
   * }} from
   */
  constructor(client, { thread, sdk, cursor, replay, runId, questionId, seed, onEnd }) {
    this.#client = client;
    this.#thread = thread;
    this.#sdk = sdk;
    this.#cursor = cursor ?? undefined;
    this.#replay = replay;
    this.#runId = runId ?? undefined;
    this.#questionId = questionId;
    this.#seed = seed;
    this.#answerId = seed?.id;
    this.#onEnd = onEnd;
    this.run = runId ? Promise.resolve(runId) : new Promise((resolve) => (this.#named = resolve));
    this.#source = this.#attach();
    this.stream = /** @type {ReadableStream<Chunk>} */ (
      new ReadableStream({
        start: (/** @type {ReadableStreamDefaultController<Chunk>} */ controller) => {
          this.#controller = controller;
        },
        pull: () => this.#wake(),
        cancel: () => void this.#finish(),
      })
    );
    this.#source.open();
    this.#probing = setInterval(() => void this.#probe(), PROBE_MS);
    globalThis.addEventListener?.("online", this.#hurry);
  }

  /**
   * Read no further; the reader is told the error.
   * @param {unknown} error
   */
  fail(error) {
    if (!this.#isOver) this.#controller?.error(this.#finish(error));
  }

  #hurry = () => this.#source.wake();

  #attach() {
    return new Stream({
      connect: (signal) => {
        this.#unplaced = [];
        const query = { cursor: this.#cursor, replay: this.#replay, rewind: "true", sdk: String(this.#sdk) };
        return this.#client.attach(this.#thread, query, signal);
      },
      onEvent: async ({ id, data }, signal) => {
        const chunk = parse(data);
        if (chunk?.type === "data-attach-token") return;
        const isOfThread = chunk !== undefined && THREAD_CHUNKS.has(chunk.type);
        if (chunk !== undefined && !isOfThread) this.#unplaced.push(chunk);
        // What has no place of its own comes again, after a drop, until the next that has one has come.
        if (!id && !isOfThread) return;
        const chunks = isOfThread ? [chunk] : this.#unplaced.splice(0);
        if (id) this.#cursor = id;
        for (const each of chunks) await this.#accept(each);
        await this.#room(signal);
      },
      onState: (state, error) => {
        if (state === "expired" || state === "refused") this.fail(error);
      },
    });
  }

  /** @param {Chunk} chunk */
  async #accept(chunk) {
    if (chunk.type === "data-thread-deleted") return this.fail(new Error("The thread was deleted."));
    if (chunk.type === "data-thread-reset") return this.#isFollowing ? this.#retell() : this.#lose();
    if (!this.#isFollowing) return this.#await(chunk);
    if (chunk.type === "data-run-rewind") this.#rewind(chunk.data?.message);
    if (this.#isOver) return undefined;
    if (this.#isStepAhead && chunk.type === "start-step") this.#isStepAhead = false;
    else this.#tell(chunk);
    if (chunk.type === "finish") this.#close();
    return undefined;
  }

  /**
   * Pass over other runs: whose chunks they are stands behind each `start`.
   * @param {Chunk} chunk
   */
  #await(chunk) {
    if (chunk.type === "start") this.#start = chunk;
    if (chunk.type !== "data-run" || !this.#start) return;
    const [start, runId] = [this.#start, chunk.data?.runId];
    this.#start = undefined;
    if (this.#runId !== undefined && runId !== this.#runId) return;
    this.#follow(runId, start.messageId);
    this.#tell(start);
    this.#tell(chunk);
  }

  /**
   * @param {string | undefined} runId
   * @param {string} messageId
   */
  #follow(runId, messageId) {
    this.#isFollowing = true;
    clearInterval(this.#probing);
    this.#runId = runId;
    this.#named(runId);
    this.#answerId = messageId;
    this.#fold = createFold(messageId, this.#seed?.id === messageId ? this.#seed : undefined);
  }

  /** @param {Chunk} chunk */
  #tell(chunk) {
    if (chunk.type !== "data-run-rewind") foldChunk(this.#fold, chunk);
    this.#controller?.enqueue(chunk);
  }

  /**
   * The run goes on behind an earlier place than the reader has come to.
   * @param {unknown} message
   */
  #rewind(message) {
    if (!isMessage(message)) return;
    const shown = this.#fold.message;
    const changes = difference(shown, message, this.#sdk, this.#given);
    const taken = changes ? { chunks: changes, isAhead: this.#isStepAhead } : this.#takeBack(shown, message);
    if (!taken) return void this.#retell();
    for (const chunk of taken.chunks) this.#tell(chunk);
    this.#isStepAhead = taken.isAhead;
  }

  /**
   * @param {UIMessage} shown
   * @param {UIMessage} message
   */
  #takeBack(shown, message) {
    return this.#sdk === 7 ? reset(shown, message, this.#sdk, this.#given) : undefined;
  }

  /** How many parts the reader began with: it may have answered calls among them. */
  get #given() {
    return this.#seed && this.#seed.id === this.#answerId ? this.#seed.parts.length : 0;
  }

  /** End the turn so that the reader asks for the whole answer. */
  #retell() {
    if (this.#sdk !== 7) this.#endInputs();
    this.fail(new RetellError(this.#answerId));
  }

  /** Where an input is not whole, `ai` 5 and 6 go on with what they hold of its message, instead of from nothing. */
  #endInputs() {
    for (const part of this.#fold.message.parts) {
      if (part.state !== "input-streaming") continue;
      const { toolCallId, rawInput: input = "" } = part;
      const errorText = "The call was interrupted.";
      this.#controller?.enqueue({ type: "tool-input-error", toolCallId, toolName: toolName(part), input, errorText });
    }
  }

  /** What came behind the cursor may be gone, the run's own chunks among it. */
  #lose() {
    this.#isGone = true;
    return this.#probe();
  }

  /** Look what became of a run whose chunks do not come. */
  async #probe() {
    try {
      const outcome = await this.#outcome();
      if (this.#isFollowing || this.#isOver || outcome === "waits") return;
      if (outcome === "active") {
        if (this.#isGone) this.#begin();
        return;
      }
      if ("error" in outcome) this.fail(outcome.error);
      else this.#tellWhole(outcome.message);
    } catch {
      // Asked again soon; meanwhile chunks may come.
    }
  }

  /** Attach anew, at the first chunk of the active run. */
  #begin() {
    this.#source.close();
    this.#cursor = this.#start = undefined;
    this.#isGone = false;
    this.#source = this.#attach();
    this.#source.open();
  }

  /**
   * Asked in the order in which a run goes through them, so that none is missed on its way.
   * @returns {Promise<"waits" | "active" | {message: UIMessage} | {error: Error}>}
   */
  async #outcome() {
    const queue = await this.#client.getQueue(this.#thread);
    if (queue.some(({ runId, messageId }) => runId === this.#runId || messageId === this.#questionId)) return "waits";
    const { activeRun, queued = 0, failureReason } = await this.#client.getThread(this.#thread);
    if (activeRun && (this.#runId === undefined || activeRun.runId === this.#runId)) return "active";
    if (this.#runId === undefined && queued > 0) return "waits";
    const { messages } = await this.#client.getMessages(this.#thread);
    const message = this.#answerIn(messages.filter(isMessage));
    if (message) return { message };
    const wasAsked = messages.some(({ id }) => id === this.#questionId);
    const what = wasAsked ? `ended without an answer (${failureReason ?? "unknown"})` : "was taken back before it began";
    return { error: new Error(`The run ${what}.`) };
  }

  /** @param {UIMessage[]} messages */
  #answerIn(messages) {
    if (this.#answerId !== undefined) return messages.find(({ id }) => id === this.#answerId);
    const place = messages.findIndex(({ id }) => id === this.#questionId);
    return messages[place + 1]?.role === "assistant" && place >= 0 ? messages[place + 1] : undefined;
  }

  /** @param {UIMessage} message */
  #tellWhole(message) {
    const { id, metadata } = message;
    this.#follow(this.#runId, id);
    this.#tell({ type: "start", messageId: id });
    const parts = difference(this.#fold.message, message, this.#sdk, this.#given);
    if (parts === undefined) return void this.#retell();
    for (const chunk of parts) this.#tell(chunk);
    this.#tell(finishOf(metadata));
    this.#close();
  }

  #close() {
    if (this.#isOver) return;
    this.#finish();
    this.#controller?.close();
  }

  /** @param {unknown} [error] */
  #finish(error) {
    if (this.#isOver) return undefined;
    this.#isOver = true;
    clearInterval(this.#probing);
    globalThis.removeEventListener?.("online", this.#hurry);
    this.#source.close();
    this.#wake();
    this.#named(undefined);
    return this.#onEnd(error) ?? error;
  }

  /**
   * Wait until the reader has taken what it was given.
   * @param {AbortSignal} signal
   */
  async #room(signal) {
    while (!this.#isOver && !signal.aborted && (this.#controller?.desiredSize ?? 0) <= 0) {
      await /** @type {Promise<void>} */ (new Promise((resolve) => (this.#wake = resolve)));
    }
  }
}

/**
 * A finished answer as a stream.
 * @param {UIMessage} message
 * @param {SdkLine} sdk
 * @returns {ReadableStream<Chunk>}
 */
export function retold(message, sdk) {
  const chunks = [{ type: "start", messageId: message.id }, ...tell(message.parts, sdk), finishOf(message.metadata)];
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}

/**
 * @param {UIMessage["metadata"]} metadata
 * @returns {Chunk}
 */
function finishOf(metadata) {
  const finish = { type: "finish", finishReason: metadata?.finishReason ?? "stop" };
  return metadata ? { ...finish, messageMetadata: metadata } : finish;
}

/**
 * @param {string} data
 * @returns {Chunk | undefined}
 */
function parse(data) {
  try {
    const chunk = JSON.parse(data);
    return typeof chunk?.type === "string" ? chunk : undefined;
  } catch {
    return undefined;
  }
}
