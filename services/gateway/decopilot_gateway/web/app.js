/** Puts the page together: the thread that the URL names, the list of threads, the composer. */

import { Attachments } from "./attachments.js";
import { DecopilotClient, newId, ThreadChat } from "./client/index.js";
import { confirmed, isDialogOpen } from "./dialogs.js";
import { MOVED_ON, NEVER, Notices, REACHED, SUCCEEDED } from "./notices.js";
import { QueueView, textOf } from "./queue.js";
import { ConversationView } from "./render.js";
import { Silence } from "./silence.js";
import { ThreadList } from "./threads.js";

const HIDDEN_MS = 20_000;
const COMPOSER_MAX_PX = 220;
const DELETED = "This thread was deleted.";
const MOVED = "That thread was deleted. This is a new one, with your message still to be sent.";
const ASK_FIRST = "decopilot-ask-first";

const STATES = new Map([
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
  onChange: () => session && showComposer(),
  onError: (error) => notices.refused(error),
});
const drafts = new Map();
/** The threads that took the place of deleted ones, for what was on its way to those. */
const successors = new Map();
/** The last message that was refused: said again, it keeps its id, so that it can't become two runs. */
let unsent;
let session;
let scheduled = false;
/** How many messages waited in line when it was drawn last. */
let lined = 0;

function route() {
  const named = /^#([A-Za-z0-9_-]{1,64})$/.exec(location.hash)?.[1];
  if (session && named === session.thread) return;
  if (session) drafts.set(session.thread, composer.value);
  session?.close();
  view.clear();
  notices.clear();
  silence.watch(undefined);
  const thread = named ?? newId("thrd");
  const mine = (act) => (...args) => opened === session && act(...args);
  const opened = new ThreadChat(client, thread, {
    fresh: !named,
    onChange: mine(schedule),
    onState: mine(showConnection),
    onEnd: mine(announce),
    onDeleted: mine(showDeleted),
  });
  session = opened;
  attachments.select(thread);
  session.open();
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
  const { conversation, thread, loaded } = session;
  const [first] = conversation.messages;
  if (first && !conversation.isUnconfirmed(first.id)) threads.remember(thread, textOf(first));
  const title = threads.titleOf(thread);
  $("title").textContent = title;
  document.title = title === "New chat" ? "Decopilot" : `${title} · Decopilot`;
  $("welcome").hidden = !loaded || session.deleted || conversation.messages.length > 0;
  $("loading").hidden = loaded;
  if (unsent && conversation.has(unsent.id)) {
    // It was refused in appearance only: the stream shows it.
    if (composer.value === unsent.text) write("");
    unsent = undefined;
    notices.clear();
  }
  if (conversation.queue.length < lined) notices.happened(MOVED_ON);
  lined = conversation.queue.length;
  // Without a connection nobody here can tell whether work goes on.
  silence.watch(connection.dataset.state === "live" ? conversation.speaking : undefined);
  const later = view.update(conversation, { silent: silence.isLong });
  queueView.update(conversation);
  showComposer();
  showLatest();
  if (later) schedule();
}

const lastQuestion = () => textOf(session.conversation.messages.findLast(({ role }) => role === "user"));

/** Send a text; behind a run that goes on it waits in line, or `interrupts` it. */
async function send(text, { interrupts = false, files = [] } = {}) {
  if (!canSend() || !text.trim()) return;
  const { thread } = session;
  const again = unsent?.thread === thread && unsent.text === text ? unsent.id : undefined;
  unsent = undefined;
  notices.clear();
  history.replaceState(null, "", `#${thread}`);
  view.scrollToEnd();
  try {
    const mode = planFirst.checked ? "plan" : "default";
    await session.send(text, { id: again, interrupts, files, mode, ...approval() });
    notices.happened(SUCCEEDED);
    threads.refresh();
  } catch (error) {
    // Another message under this id is stored: said again, this one needs an id of its own.
    if (error.code !== "message_conflict") unsent = { thread, text, id: error.messageId };
    giveBack(thread, text);
    attachments.giveBack(thread, files);
    const isGone = error.code === "thread_not_found";
    if (isGone && thread === session.thread) moveOn();
    if (isGone && successors.has(thread)) return;
    draw(); // the message leaves the chat at once, not a frame after the notice
    notices.refused(error);
  }
}

const approval = () => ({ toolApprovalLevel: askFirst.checked ? "readonly" : "auto" });
const canSend = () => session.loaded && !session.deleted;

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
  const { thread } = session;
  const draft = composer.value;
  write("");
  unsent = undefined;
  history.replaceState(null, "", location.pathname);
  route();
  successors.set(thread, session.thread);
  write(draft);
  notices.tell(MOVED, { code: "moved" });
}

const stop = () => session.conversation.active && wish(() => session.stop());

function resolve(resolution) {
  notices.clear();
  return wish(() => session.resolve(resolution));
}

function regenerate(messageId) {
  notices.clear();
  return wish(() => session.regenerate(messageId, approval()));
}

async function fork(messageId) {
  const { thread } = session;
  let made;
  await wish(async () => (made = await client.fork(thread, messageId)));
  if (made !== undefined && thread === session.thread) location.hash = made;
}

async function takeBack({ messageId, text }) {
  const { thread } = session;
  if (!(await wish(() => session.takeBack(messageId)))) return;
  giveBack(thread, text);
  if (thread === session.thread) composer.focus();
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
  if (thread === session.thread) location.hash = "";
}

/** What the org's events tell of the thread that is open, where its own stream says nothing. */
function hear(type, said) {
  if (type === "connected") notices.happened(REACHED);
  if (type !== "connected" && said?.subject !== session.thread) return;
  if (type === "decopilot.thread.deleted") session.markDeleted();
  if (session.deleted || !session.loaded) return;
  const isMissed = type === "connected" && session.conversation.messages.length > 0;
  if (isMissed || type === "decopilot.thread.queue") session.refreshQueue();
  const isAnswered = type === "decopilot.thread.status" || type === "decopilot.thread.interactions";
  if ((isMissed || isAnswered) && session.conversation.asks) session.catchUp();
}

function giveBack(addressed, text) {
  const thread = successors.get(addressed) ?? addressed;
  const typed = thread === session.thread ? composer.value : drafts.get(thread);
  const both = [text, typed].filter(Boolean).join("\n");
  if (thread === session.thread) write(both);
  else drafts.set(thread, both);
}

function write(text) {
  composer.value = text;
  showComposer();
}

function showComposer() {
  const { active, runId, stopping, asks } = session.conversation;
  const hasText = composer.value.trim() !== "";
  const busy = active && !session.deleted;
  $("send").disabled = !canSend() || !hasText || attachments.uploading;
  $("send").setAttribute("aria-label", busy ? "Send when the answer is done" : "Send");
  $("interrupt").hidden = !busy || !hasText;
  $("stop").hidden = !busy;
  $("stop").disabled = stopping || runId === undefined;
  $("stop").setAttribute("aria-label", stopping ? "Stopping…" : "Stop");
  $("hint-idle").hidden = busy;
  $("hint-busy").hidden = !busy;
  composer.disabled = session.deleted;
  const isAsked = asks !== undefined && asks.keys.size > 0;
  const idle = isAsked ? "Decide above, or go on without" : "Message Decopilot";
  composer.placeholder = busy ? "Send the next message" : idle;
  composer.style.height = "auto";
  composer.style.height = `${Math.min(composer.scrollHeight, COMPOSER_MAX_PX)}px`;
}

function showDeleted() {
  if (composer.value.trim()) {
    moveOn();
    return;
  }
  session.conversation.load({ messages: [] });
  showConnection("deleted");
  notices.tell(DELETED, { code: "deleted", until: NEVER });
  schedule();
}

function showConnection(state, error) {
  connection.dataset.state = state;
  connection.textContent = STATES.get(state);
  if (state === "expired" || state === "refused") notices.refused(error, REACHED);
  if (state === "live") notices.happened(REACHED);
  schedule();
}

function showLatest() {
  $("latest").hidden = view.atEnd || session.conversation.messages.length === 0;
}

/** Deltas would drown a screen reader; it is told when there is something to read. */
function announce({ messages, ends, asks }) {
  const last = messages.at(-1);
  const said = asks?.keys.size ? "Decopilot waits for your decision" : "Decopilot answered";
  const text = ends.get(last?.id)?.aborted ? "The answer was stopped." : `${said}: ${textOf(last).slice(0, 500)}`;
  $("announcer").textContent = text;
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
let hiding;
function onVisibility() {
  clearTimeout(hiding);
  if (document.hidden) {
    hiding = setTimeout(() => [session, threads].forEach((stream) => stream.close()), HIDDEN_MS);
  } else {
    [session, threads].forEach((stream) => stream.open());
    schedule();
  }
}

function wake() {
  if (connection.dataset.state === "live") notices.happened(REACHED);
  session.wake();
  threads.wake();
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
  submit({ interrupts: (event.ctrlKey || event.metaKey) && session.conversation.active });
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
  submit({ interrupts: session.conversation.active });
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
addEventListener("online", wake);
addEventListener("offline", () => connection.dataset.state !== "live" && showConnection("offline"));
addEventListener("focus", () => connection.dataset.state === "expired" && wake());
document.addEventListener("visibilitychange", onVisibility);

// The token is a cookie by now; in the address bar it would be shared with the link.
const { pathname, search, hash } = location;
if (new URLSearchParams(search).has("token")) history.replaceState(null, "", pathname + hash);
route();
threads.open();
