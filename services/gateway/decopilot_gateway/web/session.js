/** One open thread: its conversation, read over one connection and written by one call. */

import { apiUrl, getMessages, getThread, newId, postMessage } from "./api.js";
import { Conversation, isAfter } from "./conversation.js";
import { Stream } from "./stream.js";

const SETTLE_MS = 1_000;
const SETTLE_TRIES = 30;

export class Session {
  conversation = new Conversation();
  #loaded;
  #attachedAt;
  #stream;
  #onChange;

  /** `fresh`: the thread was made up here, so there is no history to ask for. */
  constructor(thread, { fresh, onChange, onState, onEnd }) {
    this.thread = thread;
    this.#loaded = fresh;
    this.#onChange = onChange;
    this.#stream = new Stream({
      prepare: (signal) => this.#load(signal),
      url: () => {
        this.#attachedAt = this.conversation.cursor;
        return apiUrl(`decopilot/attach/${encodeURIComponent(thread)}`, { cursor: this.#attachedAt });
      },
      onEvent: async ({ id, data }, signal) => {
        const effect = this.conversation.accept(id, parse(data));
        if (effect === "reset") await this.#reload(signal);
        if (effect === "lost") await this.#settle(signal, id);
        if (effect === "end") onEnd(this.conversation);
        onChange();
        // Attaching at the history's cursor leaves no gap; where it was done and led here, the log itself has one.
        return effect === "reset" && this.conversation.cursor !== this.#attachedAt;
      },
      onState,
      recover: (error) => {
        if (error.code !== "invalid_cursor") return false;
        this.#loaded = false;
        return true;
      },
    });
  }

  get loaded() {
    return this.#loaded;
  }

  open = () => this.#stream.open();
  close = () => this.#stream.close();
  wake = () => this.#stream.wake();

  /**
   * Send a text, shown at once. Resolves to true when it is accepted; throws the refusal after taking the message
   * back. `id` repeats an attempt whose fate is not known: the same id is the same run.
   */
  async send(text, id = newId("msg")) {
    const message = { id, role: "user", parts: [{ type: "text", text }] };
    this.conversation.offer(message);
    this.#onChange();
    try {
      this.conversation.confirm(message, await postMessage(this.thread, message));
    } catch (error) {
      if (this.conversation.withdraw(message)) throw Object.assign(error, { messageId: id });
    } finally {
      this.#onChange();
    }
  }

  async #load(signal) {
    if (this.#loaded) return;
    try {
      const history = await getMessages(this.thread, signal);
      // Without a status of its own, asked second: a status older than the messages could wait for a run that is over.
      const { status } = history.status ? history : await getThread(this.thread, signal);
      this.conversation.load({ ...history, status });
    } catch (error) {
      if (error.status !== 404) throw error;
      this.conversation.load({ messages: [] });
    }
    this.#loaded = true;
    this.#onChange();
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
