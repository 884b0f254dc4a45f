/** Puts the page together: the thread that the URL names, the list of threads, the composer. */

import { Attachments } from "./attachments.js";
import { DecopilotClient, newId, ThreadChat } from "./client/index.js";
import { watchPresence } from "./client/presence.js";
import { confirmed, isDialogOpen } from "./dialogs.js";
import { MOVED_ON, NEVER, Notices, REACHED, SUCCEEDED } from "./notices.js";
import { QueueView, textOf } from "./queue.js";
import { ConversationView } from "./render.js";
import { Silence } from "./silence.js";
import { ThreadList } from "./threads.js";

const HIDDEN_MS = 20_000;
const COMPOSER_MAX_PX = 220;
/** A thread, and a run of it that is looked into. */
const HASH = /^#([A-Za-z0-9_-]{1,64})(?:\/runs\/([A-Za-z0-9_-]{1,128}))?$/;
const DELETED = "This thread was deleted.";
const MOVED = "That thread was deleted. This is a new one, with your message still to be sent.";
const ASK_FIRST = "decopilot-ask-first";

const STATES = new Map([
  ["idle", "Paused"],
  ["connecting", "Connecting…"],
  ["live", "Live"],
  ["reconnecting", "Reconnecting…"],
  ["offline", "Offline"],
  ["expired", "Link expired"],
  ["refused", "Refused"],
  ["deleted", "Deleted"],
]);

const client = new DecopilotClient({ url: document.baseURI, org: document.body.dataset.org });

const $ = (id) => document.getElementById(id);
const composer = $("composer");
const connection = $("connection");
const askFirst = $("ask-first");
const planFirst = $("plan-first");
const view = new ConversationView($("messages"), $("scroller"), {
  retry: (text) => send(text ?? lastQuestion()),
  resolve,
  regenerate,
  fork,
  inspect: (messageId) => inspect({ messageId }),
});
const silence = new Silence(schedule);
const notices = new Notices(({ text, code }) => {
  $("notice-text").textContent = text;
  $("notice").dataset.code = code;
  $("notice").hidden = !text;
});
const queueView = new QueueView($("queue"), takeBack);
const threads = new ThreadList(client, $("threads"), {
  onError: (error) => error.status === 401 && notices.refused(error),
  onRead: schedule,
  onEvent: hear,
  onRename: rename,
  onDelete: remove,
});
const attachments = new Attachments(client, $("attached"), {
  onChange: () => chat && showComposer(),
  onError: (error) => notices.refused(error),
});
const drafts = new Map();
/** The threads that took the place of deleted ones, for what was on its way to those. */
const successors = new Map();
/** The last message that was refused: said again, it keeps its id, so that it can't become two runs. */
let unsent;
let chat;
let leave = () => {};
let scheduled = false;
/** How many messages waited in line when it was drawn last. */
let lined = 0;

function route() {
  const [, named, run] = HASH.exec(location.hash) ?? [];
  if (!chat || named !== chat.thread) open(named);
  if (run) inspect({ runId: run });
}

function open(named) {
  if (chat) drafts.set(chat.thread, composer.value);
  leave();
  view.clear();
  notices.clear();
  silence.watch(undefined);
  lined = 0;
  const thread = named ?? newId("thrd");
  const opened = new ThreadChat({ client, thread, fresh: !named, onFinish: (end) => opened === chat && announce(end) });
  chat = opened;
  leave = opened.subscribe(schedule);
  attachments.select(thread);
  threads.select(thread);
  write(drafts.get(thread) ?? "");
  openMenu(false);
  schedule();
  if (matchMedia("(pointer: fine)").matches) composer.focus();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(draw);
}

function draw() {
  scheduled = false;
  const shown = chat.getSnapshot();
  const { thread, messages, queue } = shown;
  const [first] = messages;
  if (first && !shown.sending.has(first.id)) threads.remember(thread, textOf(first));
  const title = threads.titleOf(thread);
  $("title").textContent = title;
  document.title = title === "New chat" ? "Decopilot" : `${title} · Decopilot`;
  $("welcome").hidden = !shown.loaded || shown.deleted || messages.length > 0;
  $("loading").hidden = shown.loaded;
  const isShown = (id) => messages.some((one) => one.id === id) || queue.some(({ messageId }) => messageId === id);
  if (unsent && isShown(unsent.id)) {
    // It was refused in appearance only: the stream shows it.
    if (composer.value === unsent.text) write("");
    unsent = undefined;
    notices.clear();
  }
  if (queue.length < lined) notices.happened(MOVED_ON);
  lined = queue.length;
  // Without a connection nobody here can tell whether work goes on.
  silence.watch(shown.connection.state === "live" ? shown.speaking : undefined);
  const later = view.update(shown, { silent: silence.isLong });
  queueView.update(shown);
  showConnection(shown.connection);
  showComposer();
  showLatest();
  if (later) schedule();
}

const lastQuestion = () => textOf(chat.getSnapshot().messages.findLast(({ role }) => role === "user"));

/** Send a text; behind a run that goes on it waits in line, or `interrupts` it. */
async function send(text, { interrupts = false, files = [] } = {}) {
  if (!canSend() || !text.trim()) return;
  const { thread } = chat;
  const again = unsent?.thread === thread && unsent.text === text ? unsent.id : undefined;
  unsent = undefined;
  notices.clear();
  history.replaceState(null, "", `#${thread}`);
  view.scrollToEnd();
  try {
    const mode = planFirst.checked ? "plan" : "default";
    await chat.sendMessage({ id: again, text, files }, { interrupts, mode, ...approval() });
    notices.happened(SUCCEEDED);
    threads.refresh();
  } catch (error) {
    // Another message under this id is stored: said again, this one needs an id of its own.
    if (error.code !== "message_conflict") unsent = { thread, text, id: error.messageId };
    giveBack(thread, text);
    attachments.giveBack(thread, files);
    const isGone = error.code === "thread_not_found";
    if (isGone && thread === chat.thread) moveOn();
    if (isGone && successors.has(thread)) return;
    draw(); // the message leaves the chat at once, not a frame after the notice
    notices.refused(error);
  }
}

const approval = () => ({ toolApprovalLevel: askFirst.checked ? "readonly" : "auto" });
const canSend = () => {
  const { loaded, deleted } = chat.getSnapshot();
  return loaded && !deleted;
};

function submit(options) {
  const text = composer.value;
  if (!text.trim() || !canSend() || attachments.uploading) return;
  write("");
  send(text, { ...options, files: attachments.take() });
}

/** What is wished of a thread other than a message; a refusal is said. */
async function wish(act) {
  try {
    await act();
    notices.happened(SUCCEEDED);
    return true;
  } catch (error) {
    notices.refused(error);
    return false;
  }
}

/** A deleted thread takes no message ever again: what was written goes to a new one. */
function moveOn() {
  const { thread } = chat;
  const draft = composer.value;
  write("");
  unsent = undefined;
  history.replaceState(null, "", location.pathname);
  route();
  successors.set(thread, chat.thread);
  write(draft);
  notices.tell(MOVED, { code: "moved" });
}

const stop = () => chat.getSnapshot().isActive && wish(() => chat.stop());

function resolve(resolution) {
  notices.clear();
  return wish(() => chat.resolve(resolution));
}

function regenerate(messageId) {
  notices.clear();
  return wish(() => chat.regenerate({ messageId, ...approval() }));
}

async function fork(messageId) {
  const { thread } = chat;
  let made;
  await wish(async () => (made = await client.fork(thread, messageId)));
  if (made !== undefined && thread === chat.thread) location.hash = made;
}

async function takeBack({ messageId, text }) {
  const { thread } = chat;
  if (!(await wish(() => chat.takeBack(messageId)))) return;
  giveBack(thread, text);
  if (thread === chat.thread) composer.focus();
}

/** The log of a run is looked at by few: what shows it is loaded when it is asked for. */
async function inspect(what) {
  const { thread } = chat;
  await wish(async () => {
    const { openInspector } = await import("./inspector.js");
    openInspector(client, thread, what);
  });
}

async function rename(thread) {
  $("new-title").value = threads.titleOf(thread);
  const isConfirmed = confirmed($("rename"));
  $("new-title").select();
  const title = (await isConfirmed) && $("new-title").value.trim();
  if (!title || title === threads.titleOf(thread)) return;
  if (await wish(() => threads.rename(thread, title))) schedule();
}

async function remove(thread) {
  $("delete-name").textContent = threads.titleOf(thread);
  if (!(await confirmed($("delete"))) || !(await wish(() => threads.delete(thread)))) return;
  drafts.delete(thread);
  if (thread === chat.thread) location.hash = "";
}

function hear(type, said) {
  if (type === "connected") notices.happened(REACHED);
  chat.hear({ type, subject: said?.subject, data: said?.data ?? said });
}

function giveBack(addressed, text) {
  const thread = successors.get(addressed) ?? addressed;
  const typed = thread === chat.thread ? composer.value : drafts.get(thread);
  const both = [text, typed].filter(Boolean).join("\n");
  if (thread === chat.thread) write(both);
  else drafts.set(thread, both);
}

function write(text) {
  composer.value = text;
  showComposer();
}

function showComposer() {
  const { isActive, runId, isStopping, pending, deleted } = chat.getSnapshot();
  const hasText = composer.value.trim() !== "";
  const busy = isActive && !deleted;
  $("send").disabled = !canSend() || !hasText || attachments.uploading;
  $("send").setAttribute("aria-label", busy ? "Send when the answer is done" : "Send");
  $("interrupt").hidden = !busy || !hasText;
  $("stop").hidden = !busy;
  $("stop").disabled = isStopping || runId === undefined;
  $("stop").setAttribute("aria-label", isStopping ? "Stopping…" : "Stop");
  $("hint-idle").hidden = busy;
  $("hint-busy").hidden = !busy;
  composer.disabled = deleted;
  const idle = pending.length > 0 ? "Decide above, or go on without" : "Message Decopilot";
  composer.placeholder = busy ? "Send the next message" : idle;
  composer.style.height = "auto";
  composer.style.height = `${Math.min(composer.scrollHeight, COMPOSER_MAX_PX)}px`;
}

function showDeleted() {
  if (composer.value.trim()) moveOn();
  else notices.tell(DELETED, { code: "deleted", until: NEVER });
}

/** What was shown last; a connection that goes on as it is says nothing new. */
let connected;

function showConnection({ state, error }) {
  connection.dataset.state = state;
  connection.textContent = STATES.get(state);
  const told = `${chat.thread} ${state}`;
  if (told === connected) return;
  connected = told;
  if (state === "expired" || state === "refused") notices.refused(error, REACHED);
  if (state === "live") notices.happened(REACHED);
  if (state === "deleted") showDeleted();
}

function showLatest() {
  $("latest").hidden = view.atEnd || chat.getSnapshot().messages.length === 0;
}

/** Deltas would drown a screen reader; it is told when there is something to read. */
function announce({ message, status, isAbort }) {
  const said = status === "requires_action" ? "Decopilot waits for your decision" : "Decopilot answered";
  $("announcer").textContent = isAbort ? "The answer was stopped." : `${said}: ${textOf(message).slice(0, 500)}`;
}

/** The browser may keep nothing for this page: then the choice lasts as long as the tab. */
function recall(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // As above.
  }
}

function openMenu(open) {
  document.body.classList.toggle("menu-open", open);
  $("menu").setAttribute("aria-expanded", String(open));
}

/** Browsers allow six connections per host: a tab that nobody sees gives its own back, and resumes at its cursor. */
watchPresence({ hidden_ms: HIDDEN_MS, onHidden: () => threads.close(), onShown: wake });

function wake() {
  if (connection.dataset.state === "live") notices.happened(REACHED);
  chat.wake();
  threads.open();
  threads.wake();
  schedule();
}

$("user").textContent = document.body.dataset.user;
$("org").textContent = document.body.dataset.org;
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
composer.addEventListener("input", showComposer);
composer.addEventListener("keydown", (event) => {
  // An Enter that ends a composition (Japanese, Chinese, …) belongs to the input method.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit({ interrupts: (event.ctrlKey || event.metaKey) && chat.getSnapshot().isActive });
});
$("files").addEventListener("change", ({ target }) => {
  attachments.add(target.files);
  target.value = "";
  composer.focus();
});
composer.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length === 0) return;
  event.preventDefault();
  attachments.add(event.clipboardData.files);
});
$("interrupt").addEventListener("click", () => {
  submit({ interrupts: chat.getSnapshot().isActive });
  composer.focus();
});
$("stop").addEventListener("click", () => {
  stop();
  composer.focus();
});
askFirst.checked = recall(ASK_FIRST) === "yes";
askFirst.addEventListener("change", () => keep(ASK_FIRST, askFirst.checked ? "yes" : "no"));
$("welcome").addEventListener("click", ({ target }) => {
  const suggestion = target.closest("[data-say]");
  if (!suggestion) return;
  // For this message alone: what the reader chose is left as it is.
  const chosen = [askFirst.checked, planFirst.checked];
  askFirst.checked ||= suggestion.dataset.askFirst !== undefined;
  planFirst.checked ||= suggestion.dataset.planFirst !== undefined;
  send(suggestion.dataset.say);
  [askFirst.checked, planFirst.checked] = chosen;
});
$("new-chat").addEventListener("click", () => {
  if (location.hash.length > 1) location.hash = "";
  openMenu(false);
  composer.focus();
});
$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the hash names the thread
  composer.focus();
});
$("dismiss").addEventListener("click", () => notices.clear());
$("latest").addEventListener("click", () => view.scrollToEnd());
$("scroller").addEventListener("scroll", showLatest, { passive: true });
$("menu").addEventListener("click", () => openMenu(!document.body.classList.contains("menu-open")));
$("backdrop").addEventListener("click", () => openMenu(false));
addEventListener("keydown", (event) => {
  // An Escape that a dialog or an input method takes is not meant for the run.
  if (event.key !== "Escape" || event.isComposing || isDialogOpen()) return;
  if (document.body.classList.contains("menu-open")) openMenu(false);
  else stop();
});
addEventListener("hashchange", route);
addEventListener("focus", () => connection.dataset.state === "expired" && wake());

// The token is a cookie by now; in the address bar it would be shared with the link.
const { pathname, search, hash } = location;
if (new URLSearchParams(search).has("token")) history.replaceState(null, "", pathname + hash);
route();
threads.open();
