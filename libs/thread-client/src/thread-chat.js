/** One open thread: its conversation, read over one connection and changed by single calls. */

import { Conversation, isAfter } from "./conversation.js";
import { newId } from "./ids.js";
import { Stream } from "./stream.js";

const SETTLE_MS = 1_000;
const SETTLE_TRIES = 30;

export class ThreadChat {
  conversation = new Conversation();
  /** The thread was deleted: nothing is read of it or written to it any more. */
  deleted = false;
  #client;
  #loaded;
  #attachedAt;
  #stream;
  #onChange;
  #onDeleted;
  #sending = Promise.resolve();
  #lining;
  #lineAgain = false;

  /** `fresh`: the thread was made up here, so there is no history to ask for. */
  constructor(client, thread, { fresh, onChange, onState, onEnd, onDeleted }) {
    this.#client = client;
    this.thread = thread;
    this.#loaded = fresh;
    this.#onChange = onChange;
    this.#onDeleted = onDeleted;
    this.#stream = new Stream({
      prepare: (signal) => this.#load(signal),
      connect: (signal) => {
        this.#attachedAt = this.conversation.cursor;
        return client.attach(thread, { cursor: this.#attachedAt, rewind: "true" }, signal);
      },
      onEvent: async ({ id, data }, signal) => {
        const effect = this.conversation.accept(id, parse(data));
        if (effect === "deleted") this.markDeleted();
        if (effect === "reset") await this.#reload(signal);
        if (effect === "lost") await this.#settle(signal, id);
        if (effect === "end") onEnd(this.conversation);
        onChange();
        // Attaching at the history's cursor leaves no gap; where it was done and led here, the log itself has one.
        return effect === "reset" && this.conversation.cursor !== this.#attachedAt;
      },
      onState: (...state) => this.deleted || onState(...state),
      recover: (error) => {
        if (error.code === "thread_not_found") this.markDeleted();
        if (error.code !== "invalid_cursor") return this.deleted;
        this.#loaded = false;
        return true;
      },
    });
  }

  get loaded() {
    return this.#loaded;
  }

  open = () => this.deleted || this.#stream.open();
  close = () => this.#stream.close();
  wake = () => this.#stream.wake();

  /**
   * Send a text with the parts of its files, shown at once; what was sent before is accepted before it. Resolves when it is accepted; throws the
   * refusal after taking the message back. `id` repeats an attempt whose fate is not known: the same id is the same
   * run. `interrupts`: the run that goes on is to end for it, instead of being waited for.
   * `how` is what the server is told of the run: `mode`, `toolApprovalLevel`.
   */
  async send(text, { id = newId("msg"), interrupts = false, files = [], ...how } = {}) {
    const message = { id, role: "user", parts: [{ type: "text", text }, ...files] };
    this.conversation.offer(message, { interrupts });
    this.#onChange();
    const before = this.#sending;
    const accepted = before.then(() =>
      this.#client.postMessage(this.thread, message, { onConflict: interrupts ? "interrupt" : "queue", ...how }),
    );
    this.#sending = accepted.catch(() => {});
    try {
      const receipt = await accepted;
      this.conversation.confirm(message, receipt, { interrupts });
      if (receipt.status === "queued") this.refreshQueue();
      // An attempt that had failed in appearance only was taken back in the meantime: said again, it is a new message.
      if (receipt.status === "withdrawn") await this.send(text, { interrupts, files, ...how });
    } catch (error) {
      if (this.conversation.withdraw(message)) throw Object.assign(error, { messageId: id });
      // A message that was sent in its place and refused has been taken back already.
      if (error.messageId) throw error;
    } finally {
      this.#onChange();
    }
  }

  /** Have an answer made anew; the stream tells what goes with the old one. */
  async regenerate(messageId, { toolApprovalLevel } = {}) {
    this.conversation.started(await this.#client.regenerate(this.thread, messageId, { toolApprovalLevel }));
    this.#onChange();
  }

  /** Ask for the end of the run that goes on. */
  async stop() {
    const { runId, stopping } = this.conversation;
    if (runId === undefined || stopping) return;
    this.conversation.stop(runId);
    this.#onChange();
    try {
      const { status } = await this.#client.cancelRun(this.thread, runId);
      if (status === "idle") this.conversation.stop(runId, false);
    } catch (error) {
      this.conversation.stop(runId, false);
      throw error;
    } finally {
      this.#onChange();
    }
  }

  /** Take back a message that waits in line. */
  async takeBack(messageId) {
    try {
      await this.#client.withdrawMessage(this.thread, messageId);
      this.conversation.dequeue(messageId);
      this.#onChange();
    } finally {
      this.refreshQueue();
    }
  }

  /** Decide something that the last answer waits for. Throws the refusal; what was decided elsewhere is shown then. */
  async resolve(resolution) {
    this.conversation.decide(resolution);
    this.#onChange();
    try {
      this.conversation.decided(resolution, await this.#client.postResolutions(this.thread, [resolution]));
    } catch (error) {
      this.conversation.decide(resolution, false);
      if (error.status >= 400 && error.status < 500) await this.catchUp();
      throw error;
    } finally {
      this.#onChange();
    }
  }

  /** Look what became of all that the last answer waits for. */
  async catchUp() {
    try {
      this.conversation.catchUp(await this.#client.getMessages(this.thread));
      this.#onChange();
    } catch {
      // What is shown stays true as far as it is known.
    }
  }

  /** Read the queue again. What changes while it is being read may be missing in it, so then once more. */
  refreshQueue() {
    this.#lineAgain = true;
    this.#lining ??= this.#line().finally(() => (this.#lining = undefined));
    return this.#lining;
  }

  /** Somebody deleted the thread. */
  markDeleted() {
    if (this.deleted) return;
    this.deleted = true;
    this.close();
    this.#onDeleted();
  }

  async #line() {
    while (this.#lineAgain) {
      this.#lineAgain = false;
      try {
        this.conversation.line(await this.#client.getQueue(this.thread));
        this.#onChange();
      } catch {
        // The stream and the next event of the queue correct what is shown.
      }
    }
  }

  async #load(signal) {
    if (this.#loaded) return;
    try {
      const reading = [this.#client.getMessages(this.thread, signal), this.#client.getQueue(this.thread, signal)];
      const [history, queue] = await Promise.all(reading);
      // Asked second: an active run older than the messages could be waited for when it is over.
      const { status, activeRun } = await this.#present(history, signal);
      this.conversation.load({ ...history, status, activeRun, queue });
    } catch (error) {
      if (error.status !== 404) throw error;
      this.conversation.load({ messages: [] });
    }
    this.#loaded = true;
    this.#onChange();
  }

  /** The status that the history has; of a run that goes on also its id, so that it can be stopped before it begins. */
  async #present(history, signal) {
    if (history.status !== "in_progress" && history.status !== undefined) return history;
    const { status, activeRun } = await this.#client.getThread(this.thread, signal);
    return { status: history.status ?? status, activeRun };
  }

  #reload(signal) {
    this.#loaded = false;
    return this.#load(signal);
  }

  /** The end of a run whose beginning was lost in a reset: its answer is in the history as soon as that is written. */
  async #settle(signal, end) {
    for (let tries = 0; tries < SETTLE_TRIES && !signal.aborted; tries += 1) {
      await this.#reload(signal);
      if (this.conversation.status !== "in_progress" || !isAfter(end, this.conversation.cursor)) return;
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    }
  }
}

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}
