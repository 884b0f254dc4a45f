/** React: a thread as a hook. */

import { useCallback, useEffect, useMemo, useRef, useSyncExternalStore } from "react";

import { ThreadChat } from "./thread-chat.js";

/** @typedef {import("./client.js").DecopilotClient} DecopilotClient */
/** @typedef {import("./types.js").Callbacks} Callbacks */
/** @typedef {import("./types.js").RunOptions} RunOptions */
/** @typedef {import("./thread-chat.js").Options & Callbacks} Options */
/** @typedef {"addToolOutput" | "addToolApprovalResponse" | "resolve"} Deciding */
/** @typedef {"sendMessage" | "regenerate" | "fork" | "stop" | "takeBack" | "clearError" | "wake" | Deciding} CallName */
/**
 * What can be done in a thread, as in ThreadChat; each function stays the same as long as the thread does.
 * @typedef {Pick<ThreadChat, CallName>} Calls
 */

/**
 * The chats that are listened to, or about to be. A render may be thrown away, so what it made is not held.
 * @type {WeakMap<DecopilotClient, Map<string, WeakRef<ThreadChat>>>}
 */
const registry = new WeakMap();
/** @type {WeakMap<ThreadChat, number>} How many components listen. */
const users = new WeakMap();
/** @type {WeakMap<ThreadChat, ReturnType<typeof setTimeout>>} What forgets those that nobody listens to. */
const forgetting = new WeakMap();
/** @type {WeakMap<ThreadChat, import("./types.js").Snapshot>} What each was before anything was read. */
const beginnings = new WeakMap();

/**
 * A thread, and what can be done in it. Components with the same `client` and `thread` share one connection, which opens
 * with the first and closes with the last of them. Callbacks and `run` are each component's own, and those of its last
 * render; all other options are the first component's. On a server it is a thread of which nothing was read.
 *
 * Make the `client` outside of the component: another client is another connection.
 * @param {Options} options
 * @returns {import("./types.js").Snapshot & Calls & {chat: ThreadChat}}
 */
export function useThreadChat(options) {
  const { client, thread } = options;
  const latest = useRef(options);
  useEffect(() => void (latest.current = options));
  // Only the thread makes another chat: what else there is in the options is read when it is needed.
  const chat = useMemo(() => chatOf(client, thread, latest), [client, thread]);
  const subscribe = useCallback(
    (/** @type {() => void} */ listener) => {
      hold(client, chat);
      const deafen = chat.listen(callbacksOf(latest));
      const leave = chat.subscribe(listener);
      return () => {
        deafen();
        leave();
        release(client, chat);
      };
    },
    [client, chat],
  );
  const beginning = () => beginnings.get(chat) ?? chat.getSnapshot();
  const snapshot = useSyncExternalStore(subscribe, chat.getSnapshot, beginning);
  const calls = useMemo(() => callsOf(chat, latest), [chat]);
  return useMemo(() => ({ ...snapshot, ...calls, chat }), [snapshot, calls, chat]);
}

/** @typedef {{current: Options}} Latest */

/**
 * @param {DecopilotClient} client
 * @param {string} thread
 * @param {Latest} latest
 */
function chatOf(client, thread, latest) {
  const known = registry.get(client)?.get(thread)?.deref();
  if (known) {
    // Until it is listened to, nothing but the render keeps it, as one that is made there.
    clearTimeout(forgetting.get(known));
    return known;
  }
  const { onFinish, onData, onToolCall, onPaint, onError, run, sendAutomaticallyWhen, ...options } = latest.current;
  const sendWhen = sendAutomaticallyWhen;
  const chat = new ThreadChat({
    ...options,
    client,
    thread,
    ...(sendWhen && { sendAutomaticallyWhen: (told) => (latest.current.sendAutomaticallyWhen ?? sendWhen)(told) }),
  });
  beginnings.set(chat, chat.getSnapshot());
  if (typeof document !== "undefined") register(client, chat);
  return chat;
}

/**
 * @param {DecopilotClient} client
 * @param {ThreadChat} chat
 */
function register(client, chat) {
  const chats = registry.get(client) ?? new Map();
  registry.set(client, chats);
  for (const [thread, ref] of chats) if (!ref.deref()) chats.delete(thread);
  chats.set(chat.thread, new WeakRef(chat));
}

/**
 * @param {DecopilotClient} client
 * @param {ThreadChat} chat
 */
function hold(client, chat) {
  users.set(chat, (users.get(chat) ?? 0) + 1);
  clearTimeout(forgetting.get(chat));
  if (!registry.get(client)?.get(chat.thread)?.deref()) register(client, chat);
}

/**
 * @param {DecopilotClient} client
 * @param {ThreadChat} chat
 */
function release(client, chat) {
  const left = (users.get(chat) ?? 1) - 1;
  users.set(chat, left);
  if (left > 0) return;
  // Strict mode, hot reloads and a page that takes the place of another come back at once. Not before its connection is
  // closed, which the last to go asked for just now: whoever comes in between would open another one.
  const forget = () => {
    const chats = registry.get(client);
    if (chats?.get(chat.thread)?.deref() === chat) chats.delete(chat.thread);
  };
  forgetting.set(chat, setTimeout(forget, 0));
}

/**
 * @param {Latest} latest
 * @returns {Callbacks}
 */
const callbacksOf = (latest) => ({
  onFinish: (finish) => latest.current.onFinish?.(finish),
  onData: (chunk) => latest.current.onData?.(chunk),
  onToolCall: (call) => latest.current.onToolCall?.(call),
  onPaint: (paint) => latest.current.onPaint?.(paint),
  onError: (error) => latest.current.onError?.(error),
});

/**
 * @param {ThreadChat} chat
 * @param {Latest} latest
 * @returns {Calls}
 */
const callsOf = (chat, latest) => ({
  sendMessage: (message, options) => chat.sendMessage(message, { ...latest.current.run, ...options }),
  regenerate: (options) => chat.regenerate({ ...latest.current.run, ...options }),
  fork: (options) => chat.fork(options),
  stop: () => chat.stop(),
  takeBack: (messageId) => chat.takeBack(messageId),
  addToolOutput: (answer) => chat.addToolOutput(answer),
  addToolApprovalResponse: (verdict) => chat.addToolApprovalResponse(verdict),
  resolve: (resolution) => chat.resolve(resolution),
  clearError: () => chat.clearError(),
  wake: () => chat.wake(),
});
