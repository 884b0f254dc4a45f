/**
 * The events of an org, over one connection per browser.
 *
 *     const watch = new WatchClient({ client, scope: userId });
 *     const leave = watch.subscribe((event) => …, { types: ["decopilot.thread.*"] });
 *     new ThreadChat({ client, thread, watch });          // several users of one WatchClient are fine
 *
 * Of all tabs with the same gateway, org and scope one leads: it holds a Web Lock, reads the stream, and passes every event
 * on over a BroadcastChannel. When it goes, or is found frozen, another takes over behind the last event that it heard.
 * Where a browser has neither (or in Node), each WatchClient has a connection of its own.
 *
 * Events are `{type, subject, data, time, id}` as docs/protocol.md 40 has them, each once and in order. One more type is
 * made here: `{type: "connected", data: {resumed}}` comes first to each subscriber, and whenever there is a connection
 * again; where `resumed` is false something may have been missed: read again what depends on it.
 */

import { ChunkError, report } from "./errors.js";
import { watchPresence } from "./presence.js";
import { sleep } from "./sleep.js";
import { Stream } from "./stream.js";

/** @typedef {import("./types.js").WatchEvent} WatchEvent */
/** @typedef {import("./types.js").ConnectionState} ConnectionState */
/**
 * What tabs tell each other. Of the leader: `event` (with the cursor before it), `connected`, `state`, `here`, the
 * answer to `who`. Of the others: `who` and `wake`.
 * @typedef {{kind: "event", cursor: string, after?: string, event: WatchEvent}
 *   | {kind: "connected", cursor: string, resumed: boolean}
 *   | {kind: "here" | "state", cursor?: string, state: ConnectionState, error?: {message: string, status?: number}}
 *   | {kind: "who"} | {kind: "wake"}} Told
 */
/** @typedef {{listener: (event: WatchEvent) => void, wants: (type: string) => boolean, isGreeted: boolean}} Subscriber */

const SILENCE_MS = 10_000;
const ANSWER_MS = 4_000;

export class WatchClient {
  #client;
  #name;
  #locks;
  #Channel;
  #onState;
  #silence_ms;
  #answer_ms;
  /** @type {Set<Subscriber>} */
  #subscribers = new Set();
  /** @type {string | undefined} */
  #cursor;
  /** @type {ConnectionState} */
  #state = "idle";
  /** @type {BroadcastChannel | undefined} */
  #channel;
  /** @type {Stream | undefined} */
  #stream;
  /** @type {AbortController | undefined} */
  #open;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #closing;
  #heard = 0;
  #overthrow = () => {};

  /**
   * - `client`: a DecopilotClient; `scope`: who watches, so that several users of one browser do not share
   * - `onState(state, error)`: how the connection stands, whichever tab has it
   * - `silence_ms`, `answer_ms`: after how long a silent leader is asked whether it is there, and how long it may take
   * - `locks`, `Channel`: in place of the browser's own; null for a connection of its own
   * @param {{
   *   client: import("./client.js").DecopilotClient,
   *   scope?: string,
   *   onState?: (state: ConnectionState, error?: {message: string, status?: number}) => void,
   *   silence_ms?: number,
   *   answer_ms?: number,
   *   locks?: LockManager | null,
   *   Channel?: typeof BroadcastChannel | null,
   * }} options
   */
  constructor({
    client,
    scope = "",
    onState = () => {},
    silence_ms = SILENCE_MS,
    answer_ms = ANSWER_MS,
    locks = globalThis.navigator?.locks,
    Channel = globalThis.BroadcastChannel,
  }) {
    this.#client = client;
    this.#name = `decopilot-watch ${client.url("watch")} ${scope}`;
    this.#onState = onState;
    this.#silence_ms = silence_ms;
    this.#answer_ms = answer_ms;
    this.#locks = Channel ? locks : null;
    this.#Channel = locks ? Channel : null;
  }

  /** How the connection stands, whichever tab has it; `idle` without subscribers. */
  get state() {
    return this.#state;
  }

  /**
   * Hear events from now on; `types` are names or `prefix.*`, all without. Returns what ends that; the last to leave
   * closes the connection, or leaves it to another tab.
   * @param {(event: WatchEvent) => void} listener
   * @param {{types?: string[]}} [options]
   * @returns {() => void}
   */
  subscribe = (listener, { types } = {}) => {
    const subscriber = { listener, wants: matcher(types), isGreeted: false };
    this.#subscribers.add(subscriber);
    clearTimeout(this.#closing);
    if (!this.#open) this.#begin();
    else if (this.#state === "live") queueMicrotask(() => this.#greet());
    return () => {
      if (!this.#subscribers.delete(subscriber) || this.#subscribers.size > 0) return;
      // Strict mode and hot reloads come back at once.
      this.#closing = setTimeout(() => this.#end(), 0);
    };
  };

  /** Try to connect again now, if a pause is being waited out. */
  wake = () => {
    if (this.#stream) this.#stream.wake();
    else this.#tell({ kind: "wake" });
  };

  #begin() {
    this.#open = new AbortController();
    const { signal } = this.#open;
    this.#setState("connecting");
    const onOnline = () => (this.#stream ? this.#stream.renew() : this.wake());
    const away = watchPresence({ onShown: this.wake, onOnline });
    signal.addEventListener("abort", away);
    if (!this.#Channel || !this.#locks) {
      this.#lead(signal);
      return;
    }
    this.#channel = new this.#Channel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#heard = Date.now();
    this.#tell({ kind: "who" });
    this.#campaign(this.#locks, signal);
    this.#mind(signal);
  }

  #end() {
    this.#open?.abort();
    this.#open = undefined;
    this.#resign();
    this.#channel?.close();
    this.#channel = this.#cursor = undefined;
    this.#setState("idle");
  }

  /**
   * Wait for the lead, have it, and wait again when it was taken.
   * @param {LockManager} locks
   * @param {AbortSignal} closed
   */
  async #campaign(locks, closed) {
    for (let steal = false; !closed.aborted; ) {
      const patience = new AbortController();
      const how = steal ? { steal } : { signal: AbortSignal.any([closed, patience.signal]) };
      let hasLed = false;
      this.#overthrow = () => patience.abort();
      try {
        await locks.request(this.#name, how, () => {
          hasLed = true;
          this.#overthrow = () => {};
          return this.#lead(closed);
        });
      } catch (error) {
        // A page may be forbidden to lock anything: then it is on its own.
        if (!hasLed && !closed.aborted && !patience.signal.aborted) return this.#lead(closed);
      }
      this.#resign();
      steal = patience.signal.aborted && !hasLed;
    }
  }

  /**
   * Read the stream for all, until this one closes or is overthrown.
   * @param {AbortSignal} closed
   */
  #lead(closed) {
    if (closed.aborted) return undefined;
    const stream = new Stream({
      connect: (signal) => this.#client.watch({ cursor: this.#cursor }, signal),
      onEvent: (event) => this.#stream === stream && this.#read(event),
      onState: (state, error) => this.#stream === stream && state !== "live" && this.#setState(state, error),
    });
    this.#stream = stream;
    stream.open();
    return sleep(Infinity, closed);
  }

  #resign() {
    this.#stream?.close();
    this.#stream = undefined;
    this.#heard = Date.now();
  }

  /** @param {import("./sse.js").ServerSentEvent} read */
  #read({ id: cursor, event, data }) {
    if (cursor === undefined) return;
    const said = parse(data);
    /** @type {Told} */
    const told =
      event === "connected"
        ? { kind: "connected", cursor, resumed: said.resumed === true }
        : { kind: "event", cursor, after: this.#cursor, event: said };
    this.#tell(told);
    this.#take(told);
  }

  /** @param {Told} told */
  #hear(told) {
    if (told.kind === "who" || told.kind === "wake") {
      if (told.kind === "wake") this.#stream?.wake();
      else if (this.#stream) this.#tell({ kind: "here", cursor: this.#cursor, state: this.#state });
      return;
    }
    this.#heard = Date.now();
    this.#take(told);
  }

  /** @param {Told} told */
  #take(told) {
    if (!this.#open) return;
    if (told.kind === "event") {
      if (this.#cursor !== undefined && !isBehind(this.#cursor, told.cursor)) return;
      this.#reach(told.after);
      this.#setState("live");
      this.#cursor = told.cursor;
      this.#greet();
      this.#say(told.event);
    } else if (told.kind === "connected") {
      const isWhole = told.resumed && this.#cursor !== undefined && !isBehind(this.#cursor, told.cursor);
      if (!isWhole) this.#cursor = told.cursor;
      this.#setState("live");
      this.#greet(isWhole);
    } else if (told.kind === "here" || told.kind === "state") {
      if (this.#stream) return;
      this.#setState(told.state, told.error);
      if (told.state !== "live") return;
      this.#reach(told.cursor);
      this.#cursor ??= told.cursor;
      this.#greet();
    }
  }

  /**
   * The leader is here by now: what lies between was told to others and not to us.
   * @param {string | undefined} cursor
   */
  #reach(cursor) {
    if (this.#cursor === undefined || !isBehind(this.#cursor, cursor)) return;
    this.#cursor = cursor;
    this.#greet(false);
  }

  /**
   * Tell of the connection those who do not know of it; all of them where `resumed` says how it came about.
   * @param {boolean} [resumed]
   */
  #greet(resumed) {
    for (const subscriber of [...this.#subscribers]) {
      if (subscriber.isGreeted && resumed === undefined) continue;
      const data = { resumed: subscriber.isGreeted && resumed === true };
      subscriber.isGreeted = true;
      call(subscriber, { type: "connected", data });
    }
  }

  /** @param {WatchEvent} event */
  #say(event) {
    for (const subscriber of [...this.#subscribers]) if (subscriber.wants(event.type)) call(subscriber, event);
  }

  /**
   * A leader that holds the lock and says nothing is asked; one that does not answer is frozen.
   * @param {AbortSignal} closed
   */
  async #mind(closed) {
    while (!closed.aborted) {
      await sleep(this.#silence_ms, closed);
      if (closed.aborted || this.#stream || Date.now() - this.#heard < this.#silence_ms) continue;
      const asked = Date.now();
      this.#tell({ kind: "who" });
      await sleep(this.#answer_ms, closed);
      // Who was frozen itself meanwhile has not read the answer yet.
      const wasFrozen = Date.now() - asked > 2 * this.#answer_ms;
      if (!closed.aborted && !this.#stream && !wasFrozen && this.#heard < asked) this.#overthrow();
    }
  }

  /**
   * @param {ConnectionState} state
   * @param {{message: string, status?: number}} [error]
   */
  #setState(state, error) {
    const told = error && { message: error.message, status: error.status };
    if (this.#stream && state !== this.#state) this.#tell({ kind: "state", cursor: this.#cursor, state, error: told });
    if (state === this.#state && !error) return;
    this.#state = state;
    try {
      this.#onState(state, told);
    } catch (thrown) {
      report(thrown);
    }
  }

  /** @param {Told} told */
  #tell(told) {
    this.#channel?.postMessage(told);
  }
}

/**
 * @param {Subscriber} subscriber
 * @param {WatchEvent} event
 */
function call({ listener }, event) {
  try {
    listener(event);
  } catch (error) {
    report(error);
  }
}

/** @param {string} data */
function parse(data) {
  try {
    const said = JSON.parse(data);
    if (typeof said === "object" && said !== null) return said;
  } catch {
    // As below.
  }
  throw new ChunkError("The watch stream said something that can't be read.");
}

/**
 * @param {string[]} [patterns]
 * @returns {(type: string) => boolean}
 */
function matcher(patterns) {
  if (!patterns) return () => true;
  return (type) => patterns.some((one) => (one.endsWith(".*") ? type.startsWith(one.slice(0, -1)) : type === one));
}

/**
 * @param {string} one
 * @param {string | undefined} other
 */
const isBehind = (one, other) => other !== undefined && Number(one) < Number(other);
