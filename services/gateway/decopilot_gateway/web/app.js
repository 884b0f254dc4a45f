/** Puts the page together: the thread that the URL names, the list of threads, and where one writes. */

import { DecopilotClient, newId, ThreadChat, WatchClient } from "./client/index.js";
import { Choices } from "./compose/choices.js";
import { Composer } from "./compose/composer.js";
import { QueueView } from "./compose/queue.js";
import { ConnectionView } from "./connection.js";
import { confirmed, isDialogOpen } from "./dialogs.js";
import { label, setProperty, setText } from "./dom.js";
import { icon } from "./icons.js";
import { emptinessOf, Filters } from "./list/filters.js";
import { ThreadList } from "./list/threads.js";
import { MOVED_ON, NEVER, Notices, REACHED, SUCCEEDED } from "./notices.js";
import { choose, NEXT, theme } from "./theme.js";
import { textOf } from "./thread/answer.js";
import { digitOf } from "./thread/asking.js";
import { Decisions } from "./thread/decisions.js";
import { plain } from "./thread/plain.js";
import { Silence } from "./thread/silence.js";
import { Privacy } from "./thread/privacy.js";
import { usageText } from "./thread/values.js";
import { ConversationView } from "./thread/view.js";

const DELETED = "This thread was deleted.";
const NOT_SENT = "What you sent last has not arrived. It is back in the box.";
const ELSEWHERE = "What you sent to another chat has not arrived. It is back in its box.";
const MOVED = "That thread was deleted. This is a new one, with your message still to be sent.";
const ENDED = "The answer had already ended.";
/** Events after which the open thread is called, used or kept otherwise. */
const TELLING = new Set([
  "decopilot.thread.titled",
  "decopilot.thread.archived",
  "decopilot.thread.visibility",
  "decopilot.finish",
]);
/** A message restores a thread without an event of its own. */
const RESTORING = new Set(["decopilot.thread.status", "decopilot.thread.queue"]);
const HASH = /^#([A-Za-z0-9_-]{1,64})(?:\/runs\/([A-Za-z0-9_-]{1,128}))?$/;
const THEMES = new Map([
  ["auto", "system"],
  ["light", "light"],
  ["dark", "dark"],
]);

const $ = (id) => document.getElementById(id);
const { org, user } = document.body.dataset;
const client = new DecopilotClient({ url: document.baseURI, org });
const watch = new WatchClient({ client, scope: user });

const notices = new Notices(({ text, code, action }) => {
  setText($("notice-text"), text);
  $("notice-act").hidden = !action;
  setText($("notice-act"), action?.text ?? "");
  $("notice-act").onclick = action?.act ?? null;
  $("notice").dataset.code = code;
  $("notice").hidden = !text;
});
const view = new ConversationView($("messages"), $("scroller"), {
  goOn: () => say("Please continue."),
  regenerate,
  fork,
  inspect: (messageId) => inspect({ messageId }),
});
const privacy = new Privacy($("privacy"), { onTurn: setPrivacy });
const silence = new Silence(schedule);
const connection = new ConnectionView(
  { pill: $("connection"), banner: $("lost"), text: $("lost-text"), now: $("reconnect") },
  () => chat.wake(),
);
const queueView = new QueueView($("queue"), takeBack);
const choices = new Choices({
  agent: $("agent"),
  tier: $("tier"),
  asksFirst: $("ask-first"),
  plans: $("plan-first"),
  searches: $("search-first"),
});
const composer = new Composer(
  client,
  `${org} ${user}`,
  {
    form: $("form"),
    text: $("composer"),
    send: $("send"),
    stop: $("stop"),
    interrupt: $("interrupt"),
    files: $("files"),
    attached: $("attached"),
    drop: $("drop"),
    hints: { idle: $("hint-idle"), busy: $("hint-busy") },
  },
  { onSubmit: send, onStop: stop, onError: (error) => notices.refused(error) },
);
const { outbox } = composer;
const decisions = new Decisions($("decisions"), {
  resolve,
  onTurned: schedule,
  onTyped: () => composer.focus(),
  onShown: ({ kind, label: asked, hadFocus, focus }) => {
    announce(`${kind}: ${asked}`);
    // Who is writing is not interrupted; who is not may answer with the next key.
    const isFree = composer.isEmpty && (composer.hasFocus || document.activeElement === document.body);
    if (hadFocus || (isFree && hasKeyboard())) focus();
  },
  onGone: (hadFocus) => hadFocus && composer.focus(),
});
const threads = new ThreadList(client, $("threads"), {
  watch,
  onError: (error) => error.status === 401 && notices.refused(error),
  onRead: ({ isEmpty, hasMore, view: shown, q }) => {
    $("more").hidden = !hasMore;
    $("no-threads").hidden = !isEmpty;
    setText($("no-threads"), isEmpty ? emptinessOf({ view: shown, q }) : "");
    schedule();
  },
  onRename: rename,
  onArchive: archive,
  onDelete: remove,
});
const filters = new Filters(
  { search: $("search"), chips: $("filters") },
  { show: (asked) => threads.show(asked), enter: () => threads.focusFirst() },
);
let chat;
/** The chats of threads to which something is on its way: who comes back to one of these finds it there. */
const sending = new Map();
let leave = () => {};
let scheduled = false;
/** How many messages were queued when it was drawn last. */
let lined = 0;
/** The open thread is put aside. */
let isArchived = false;
/** Others of the org do not read the open thread, or will not once it is begun. */
let isPrivate = false;
/** The open thread has not been read yet. */
let isOpening = false;
/** The thread that the address named, if there is none. */
let unknown;
/** What the connection was when it was drawn last; one that goes on as it is says nothing new. */
let connected;

function route() {
  const [, named, run] = HASH.exec(location.hash) ?? [];
  if (!chat || named !== chat.thread) open(named);
  if (run) inspect({ runId: run });
}

function open(named) {
  leave();
  view.clear();
  decisions.clear();
  notices.clear();
  silence.watch(undefined);
  lined = 0;
  isArchived = false;
  isOpening = true;
  unknown = undefined;
  const thread = named ?? newId("thrd");
  isPrivate = outbox.isPrivate(thread);
  chat = sending.get(thread) ?? chatOf(thread, { isNew: !named });
  leave = chat.subscribe(schedule);
  composer.select(thread, { isNamed: named !== undefined });
  threads.select(thread);
  setText($("usage"), "");
  if (named) learn({ isNamed: true });
  openMenu(false);
  schedule();
  if (hasKeyboard()) composer.focus();
}

function chatOf(thread, { isNew }) {
  const made = new ThreadChat({
    client,
    thread,
    watch,
    fresh: isNew,
    // A long text is drawn when there is time for it, in a later frame.
    paint: { isDrawn: () => !scheduled },
    onFinish: (end) => made === chat && ended(end),
  });
  return made;
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
  const isShown = (id) => messages.some((one) => one.id === id) || queue.some(({ messageId }) => messageId === id);
  for (const sent of outbox.back(thread)) if (isShown(sent.id)) arrived(sent);
  const title = threads.titleOf(thread);
  setText($("title"), title);
  setProperty(document, "title", title === "New chat" ? "Decopilot" : `${title} · Decopilot`);
  $("welcome").hidden = !shown.loaded || shown.deleted || messages.length > 0;
  $("loading").hidden = shown.loaded;
  const isBegun = queue.length > 0 || outbox.back(thread).length > 0;
  $("unknown").hidden = $("welcome").hidden || unknown !== thread || isBegun;
  $("archived").hidden = !isArchived || shown.deleted;
  privacy.draw(isPrivate, shown.deleted);
  if (shown.loaded && isOpening) tellOfBack(thread);
  if (queue.length < lined) notices.happened(MOVED_ON);
  lined = queue.length;
  // Without a connection nobody here can tell whether work goes on.
  silence.watch(shown.connection.state === "live" ? shown.speaking : undefined);
  const later = view.update(shown, { silent: silence.isLong });
  queueView.update(shown);
  decisions.update(shown);
  showConnection(shown.connection);
  composer.update(shown);
  showLatest();
  if (later) schedule();
}

/** It was refused, or lost, in appearance only: the stream shows it. */
function arrived(sent) {
  composer.takeOut(sent);
  if (outbox.back(sent.thread).length === 0) notices.clear();
}

function tellOfBack(thread) {
  isOpening = false;
  if (composer.holdsBack(thread)) notices.tell(NOT_SENT, { code: "not_sent" });
}

function tellOfOther(thread) {
  const action = { text: "Show", act: () => (location.hash = thread) };
  notices.tell(ELSEWHERE, { code: "not_sent", action });
}

/** Send what a button says; if that is back in the box, it is what is meant. */
function say(text) {
  const known = outbox.back(chat.thread).find((sent) => sent.text === text && sent.files.length === 0);
  if (known) composer.takeOut(known);
  return send({ id: known?.id, text });
}

/** Send a message; behind a run that goes on it is queued, or `interrupts` it. */
async function send({ id = newId("msg"), text, interrupts = false, files = [] }) {
  const { thread } = chat;
  unknown = undefined;
  sending.set(thread, chat);
  outbox.put({ thread, id, text, files, isPrivate });
  notices.clear();
  history.replaceState(null, "", `#${thread}`);
  composer.name();
  view.scrollToEnd();
  try {
    const visibility = isPrivate ? "private" : undefined;
    await chat.sendMessage({ id, text, files }, { interrupts, visibility, ...choices.run });
    outbox.settle(id);
    if (thread === chat.thread) notices.happened(SUCCEEDED);
    threads.refresh();
  } catch (error) {
    composer.giveBack({ thread, id, text, files }, error.messageId);
    // Another message under this id is stored: said again, this one needs an id of its own.
    if (error.code === "message_conflict") outbox.settle(error.messageId);
    const isGone = error.code === "thread_not_found";
    if (isGone && thread === chat.thread) moveOn();
    if (isGone && composer.hasSuccessor(thread)) return;
    draw(); // the message leaves the chat, and the line, before it is told why
    if (thread === chat.thread) notices.refused(error);
    else tellOfOther(thread);
  } finally {
    if (!outbox.isSending(thread)) sending.delete(thread);
  }
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
  const draft = composer.text;
  const wasPrivate = isPrivate;
  composer.write("");
  history.replaceState(null, "", location.pathname);
  open();
  isPrivate = wasPrivate;
  composer.succeed(thread);
  composer.write(draft);
  notices.tell(MOVED, { code: "moved" });
}

async function stop() {
  if (!chat.getSnapshot().isActive) return;
  let outcome;
  if (!(await wish(async () => (outcome = await chat.stop())))) return;
  const hasEnded = outcome !== undefined && outcome !== "cancelling" && outcome !== "withdrawn";
  if (hasEnded) notices.tell(ENDED, { code: "ended" });
}

function resolve(resolution) {
  notices.clear();
  return wish(() => chat.resolve(resolution));
}

/** Another answer takes the place of this one and of all behind it: who would lose more than the answer is asked. */
async function regenerate(messageId) {
  const asked = chat;
  const { messages } = asked.getSnapshot();
  const behind = messages.length - 1 - messages.findIndex(({ id }) => id === messageId);
  const told = behind === 1 ? "1 message behind it leaves the thread" : `${behind} messages behind it leave the thread`;
  setText($("anew-behind"), told);
  if (behind > 0 && !(await confirmed($("anew")))) return;
  if (asked !== chat) return;
  notices.clear();
  await wish(() => asked.regenerate({ messageId, ...choices.again }));
}

async function fork(messageId) {
  const asked = chat;
  let made;
  await wish(async () => (made = await asked.fork({ messageId })));
  if (made !== undefined && asked === chat) location.hash = made;
}

async function takeBack({ messageId, text, files }) {
  const { thread } = chat;
  if (!(await wish(() => chat.takeBack(messageId)))) return;
  composer.insert(thread, text, files);
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

async function archive(thread, archived) {
  const isBelow = $("dock").contains(document.activeElement);
  if (!(await wish(() => threads.archive(thread, archived)))) return;
  if (thread === chat.thread) isArchived = archived;
  schedule();
  const action = { text: "Undo", act: () => archive(thread, false) };
  if (archived) notices.tell("Archived.", { code: "archived", action });
  // The button that restores is gone with what it restored.
  else if (isBelow && hasKeyboard()) composer.focus();
}

/** A thread that is not begun yet will be so with its first message. */
async function setPrivacy(wanted) {
  const { thread } = chat;
  const { messages, queue } = chat.getSnapshot();
  const isBegun = messages.length > 0 || queue.length > 0;
  if (isBegun && !(await wish(() => threads.setVisibility(thread, wanted ? "private" : "org")))) return;
  if (thread === chat.thread) isPrivate = wanted;
  schedule();
}

async function remove(thread) {
  setText($("delete-name"), threads.titleOf(thread));
  if (!(await confirmed($("delete"))) || !(await wish(() => threads.delete(thread)))) return;
  composer.forget(thread);
  if (thread === chat.thread) location.hash = "";
}

/** What is known of the open thread besides its messages: its title, wherever it stands in the list, and what it has used. */
async function learn({ isNamed = false } = {}) {
  const { thread } = chat;
  try {
    const known = await client.getThread(thread);
    threads.learn(known);
    if (thread !== chat.thread) return;
    setText($("usage"), usageText(known.usage));
    isArchived = known.archived === true;
    isPrivate = known.visibility === "private";
    unknown = undefined;
    schedule();
  } catch (error) {
    // It may not be there yet; only who came by an address is told.
    if (!isNamed || error.code !== "thread_not_found" || thread !== chat.thread) return;
    unknown = thread;
    schedule();
  }
}

function hear({ type, subject }) {
  if (type === "connected") notices.happened(REACHED);
  if (subject !== chat.thread) return;
  if (TELLING.has(type) || (isArchived && RESTORING.has(type))) learn();
}

function showDeleted() {
  if (composer.isEmpty) notices.tell(DELETED, { code: "deleted", until: NEVER });
  else moveOn();
}

function showConnection(now) {
  connection.update(now);
  const told = `${chat.thread} ${now.state}`;
  if (told === connected) return;
  connected = told;
  if (now.state === "expired" || now.state === "refused") notices.refused(now.error, REACHED);
  if (now.state === "live") notices.happened(REACHED);
  if (now.state === "deleted") showDeleted();
}

function showLatest() {
  $("latest").hidden = view.follows || chat.getSnapshot().messages.length === 0;
}

/** Deltas would drown a screen reader; it is told when there is something to read. */
function ended({ message, status, isAbort, isError }) {
  if (status === "requires_action") return; // what is to be decided is told by its card
  const said = isError ? "The answer failed" : "Decopilot answered";
  announce(isAbort ? "The answer was stopped." : `${said}: ${plain(textOf(message)).slice(0, 500)}`);
}

function announce(text) {
  $("announcer").textContent = text;
}

const hasKeyboard = () => matchMedia("(pointer: fine)").matches;

function openMenu(isOpen) {
  const wasOpen = document.body.classList.contains("menu-open");
  document.body.classList.toggle("menu-open", isOpen);
  $("menu").setAttribute("aria-expanded", String(isOpen));
  if (wasOpen && !isOpen && $("sidebar").contains(document.activeElement)) $("menu").focus();
  if (isOpen) $("new-chat").focus();
}

function showTheme() {
  const now = theme();
  $("theme").replaceChildren(icon(now, 18));
  label($("theme"), `Theme: ${THEMES.get(now)}`);
}

setText($("user"), user);
setText($("org"), org);
showTheme();
watch.subscribe(hear);
choices.load(client);
$("theme").addEventListener("click", () => {
  choose(NEXT.get(theme()));
  showTheme();
});
$("welcome").addEventListener("click", ({ target }) => {
  const suggestion = target.closest("[data-say]");
  if (!suggestion) return;
  const { say: text, askFirst, planFirst } = suggestion.dataset;
  const how = { asksFirst: askFirst !== undefined, plans: planFirst !== undefined };
  choices.with(how, () => say(text));
});
$("new-chat").addEventListener("click", () => {
  if (location.hash.length > 1) location.hash = "";
  openMenu(false);
  composer.focus();
});
$("more").addEventListener("click", () => threads.showMore());
$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the hash names the thread
  composer.focus();
});
// A number ahead of any text is the choice; behind one it belongs to the message.
$("composer").addEventListener("keydown", (event) => {
  if (composer.text === "" && decisions.choose(digitOf(event))) event.preventDefault();
});
$("restore").addEventListener("click", () => archive(chat.thread, false));
$("dismiss").addEventListener("click", () => notices.clear());
$("latest").addEventListener("click", () => view.scrollToEnd());
$("scroller").addEventListener("scroll", showLatest, { passive: true });
$("menu").addEventListener("click", () => openMenu(!document.body.classList.contains("menu-open")));
$("backdrop").addEventListener("click", () => openMenu(false));
addEventListener("keydown", (event) => {
  if (event.isComposing || isDialogOpen()) return;
  const isWriting = event.target.matches?.("input, textarea, select");
  const wantsSearch =
    (event.key === "/" && !isWriting) || (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey));
  if (wantsSearch) {
    event.preventDefault();
    if (matchMedia("(max-width: 760px)").matches) openMenu(true);
    filters.focus();
  }
  // An Escape that a dialog or an input method takes is not meant for the run.
  if (event.key !== "Escape") return;
  if (document.body.classList.contains("menu-open")) openMenu(false);
  else stop();
});
addEventListener("hashchange", route);
addEventListener("focus", () => chat.getSnapshot().connection.state === "expired" && chat.wake());

composer.recover();
// The token is a cookie by now; in the address bar it would be shared with the link.
const { pathname, search, hash } = location;
if (new URLSearchParams(search).has("token")) history.replaceState(null, "", pathname + hash);
route();
const elsewhere = outbox.all.findLast(({ thread }) => thread !== chat.thread && composer.holdsBack(thread));
if (elsewhere) tellOfOther(elsewhere.thread);

/** What the shown thread holds, for whoever looks at it from a console or a test. */
export const getSnapshot = () => chat.getSnapshot();

/** The same for what it tells of: the callbacks of a ThreadChat. */
export const listen = (callbacks) => chat.listen(callbacks);
