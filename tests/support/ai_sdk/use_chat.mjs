// useChat of one line of the AI SDK, mounted in a DOM, over the browser library's transport.
//
//   node use_chat.mjs 7 URL TOKEN
//
// Reads commands as NDJSON on stdin, {n, op, chat, ...}, and answers each with {n, ok} or {n, error} on stdout. A chat is
// a mounted component; `wait` answers with what it shows as soon as it shows what is asked for.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

import { Window } from 'happy-dom';

const [line, url, token] = process.argv.slice(2);
const window = new Window();
Object.assign(globalThis, { window, document: window.document });

const { StrictMode, createElement, useEffect, useState } = await import('react');
const { createRoot } = await import('react-dom/client');
const { useChat } = await import(`use-chat${line}`);
const sdk = await import(createRequire(import.meta.resolve(`use-chat${line}`)).resolve('ai'));
const { DecopilotChatTransport, DecopilotClient } = await import('../../../libs/thread-client/src/index.js');

const AUTOMATIC = {
  tools: sdk.lastAssistantMessageIsCompleteWithToolCalls,
  approvals: sdk.lastAssistantMessageIsCompleteWithApprovalResponses,
};
const chats = new Map();

/** What a client meets whose answers get lost on the way: the requests arrive. */
function losing(count) {
  return async (input, init) => {
    const response = await fetch(input, init);
    if (init?.method !== 'POST' || count-- <= 0) return response;
    await response.body?.cancel();
    return Response.json({ code: 'broker_unavailable', detail: 'The answer was lost.' }, { status: 503 });
  };
}

/** Counts the streams that were opened. */
function watching(chat, asked) {
  return async (input, init) => {
    const response = await asked(input, init);
    if (response.headers.get('Content-Type')?.startsWith('text/event-stream')) chat.streams += 1;
    return response;
  };
}

function Shown({ chat, settings }) {
  chat.helpers = useChat(settings);
  const { status, messages, error } = chat.helpers;
  useEffect(() => {
    if (chat.statuses.at(-1) !== status) chat.statuses.push(status);
    chat.shown = { status, messages, error: error?.message };
    chat.look();
  }, [status, messages, error]);
  const [, redraw] = useState(0);
  chat.redraw = () => redraw(count => count + 1);
  return null;
}

const operations = {
  async mount({ chat: name, thread, resume = false, load = false, automatic, lose = 0, options = {}, rewinds = true }) {
    const chat = { statuses: [], finishes: [], data: [], streams: 0, shown: undefined, look: () => {} };
    const client = new DecopilotClient({ url, org: 'local', token, fetch: watching(chat, losing(lose)) });
    if (rewinds) options.onRewind = () => chat.helpers.resumeStream();
    chat.transport = new DecopilotChatTransport({ client, sdk: Number(line), ...options });
    const settings = {
      id: thread,
      transport: chat.transport,
      messages: load ? await chat.transport.load(thread) : [],
      resume,
      sendAutomaticallyWhen: AUTOMATIC[automatic],
      onFinish: ({ isAbort, isDisconnect, isError }) => chat.finishes.push({ isAbort, isDisconnect, isError }),
      onData: ({ type }) => chat.data.push(type),
    };
    chat.thread = thread;
    chats.set(name, chat);
    chat.root = createRoot(window.document.createElement('div'));
    chat.root.render(createElement(StrictMode, null, createElement(Shown, { chat, settings })));
    await seen(chat, () => chat.shown);
  },
  unmount: ({ chat }) => chats.get(chat).root.unmount(),
  // What lasts as long as the turn is not awaited, but waited for.
  send: ({ chat, text, ...options }) => void chats.get(chat).helpers.sendMessage({ text, ...options }),
  regenerate: ({ chat, messageId }) => void chats.get(chat).helpers.regenerate({ messageId }),
  resume: ({ chat }) => void chats.get(chat).helpers.resumeStream(),
  stop: ({ chat }) => void chats.get(chat).helpers.stop(),
  answer: ({ chat, ...given }) => void chats.get(chat).helpers.addToolOutput(given),
  approve: ({ chat, ...given }) => void chats.get(chat).helpers.addToolApprovalResponse(given),
  cancel: ({ chat }) => chats.get(chat).transport.cancel(chats.get(chat).thread),
  async wait({ chat: name, status, text = 0, state, finishes = 0, messages = 0, finished = false, reading = false, data, deadline_ms = 40_000 }) {
    const chat = chats.get(name);
    const is = () =>
      (status === undefined || chat.shown.status === status) &&
      chat.finishes.length >= finishes &&
      (data === undefined || chat.data.includes(data)) &&
      (!reading || chat.streams > 0) &&
      (!finished || chat.finishes.some(({ isAbort, isError }) => !isAbort && !isError)) &&
      chat.shown.messages.length >= messages &&
      textOf(chat.shown).length >= text &&
      (state === undefined || chat.shown.messages.at(-1)?.parts.some(part => part.state === state));
    await seen(chat, is, deadline_ms);
    return told(chat);
  },
};

const textOf = ({ messages }) =>
  (messages.findLast(({ role }) => role === 'assistant')?.parts ?? []).map(({ text }) => text ?? '').join('');
const told = ({ shown, statuses, finishes, data }) => ({ ...shown, statuses, finishes, data });

/** Resolves when a chat shows something; looked at whenever it changes, and when a turn ends. */
function seen(chat, is, deadline_ms = 10_000) {
  return new Promise((resolve, reject) => {
    const timer = setInterval(() => chat.look(), 20);
    const late = setTimeout(() => {
      clearInterval(timer);
      reject(new Error(`not seen: ${is}\n${JSON.stringify(told(chat)).slice(-3000)}`));
    }, deadline_ms);
    chat.look = () => {
      if (!is()) return;
      clearInterval(timer);
      clearTimeout(late);
      chat.look = () => {};
      resolve();
    };
    chat.look();
  });
}

function answer(n, result) {
  process.stdout.write(JSON.stringify({ n, ...result }) + '\n');
}

for await (const input of createInterface({ input: process.stdin })) {
  const { n, op, ...given } = JSON.parse(input);
  Promise.resolve()
    .then(() => operations[op](given))
    .then(
      ok => answer(n, { ok: ok ?? null }),
      error => answer(n, { error: String(error?.stack ?? error) }),
    );
}
process.exit(0);
