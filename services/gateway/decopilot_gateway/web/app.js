/** Puts the page together: the thread that the URL names, the list of threads, the composer. */

import { newId } from "./api.js";
import { ConversationView } from "./render.js";
import { Session } from "./session.js";
import { ThreadList } from "./threads.js";

const HIDDEN_MS = 20_000;
const COMPOSER_MAX_PX = 220;
const EXPIRED = "Your link has expired: run `decopilot token` or open the printed link again.";
const BUSY = "A run is going on in this thread. Your message stays in the box below: send it when the run is over.";

const STATES = new Map([
  ["connecting", "Connecting…"],
  ["live", "Live"],
  ["reconnecting", "Reconnecting…"],
  ["offline", "Offline"],
  ["expired", "Link expired"],
  ["refused", "Refused"],
]);

const $ = (id) => document.getElementById(id);
const composer = $("composer");
const connection = $("connection");
const view = new ConversationView($("messages"), $("scroller"), (text) => send(text ?? lastQuestion()));
const threads = new ThreadList($("threads"), (error) => error.status === 401 && report(error));
const drafts = new Map();
/** The last message that was refused: said again, it keeps its id, so that it can't become two runs. */
let unsent;
let session;
let scheduled = false;

function route() {
  const named = /^#([A-Za-z0-9_-]{1,64})$/.exec(location.hash)?.[1];
  if (session && named === session.thread) return;
  if (session) drafts.set(session.thread, composer.value);
  session?.close();
  view.clear();
  notify();
  const thread = named ?? newId("thrd");
  const mine = (act) => (...args) => opened === session && act(...args);
  const opened = new Session(thread, {
    fresh: !named,
    onChange: mine(schedule),
    onState: mine(showConnection),
    onEnd: mine(({ messages }) => announce(messages)),
  });
  session = opened;
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
  if (first && !conversation.isUnconfirmed(first.id)) threads.remember(thread, lastQuestion([first]));
  const title = threads.titleOf(thread);
  $("title").textContent = title;
  document.title = title === "New chat" ? "Decopilot" : `${title} · Decopilot`;
  $("welcome").hidden = !loaded || conversation.messages.length > 0;
  $("loading").hidden = loaded;
  if (unsent && conversation.has(unsent.id)) {
    // It was refused in appearance only: the stream shows it.
    if (composer.value === unsent.text) write("");
    unsent = undefined;
    notify();
  }
  const later = view.update(conversation);
  showComposer();
  showLatest();
  if (later) schedule();
}

function lastQuestion(messages = session.conversation.messages) {
  const parts = messages.findLast(({ role }) => role === "user")?.parts ?? [];
  return parts.filter((part) => part?.type === "text").map((part) => String(part.text)).join("\n");
}

async function send(text) {
  if (!canSend() || !text.trim()) return false;
  const { thread } = session;
  const again = unsent?.thread === thread && unsent.text === text ? unsent.id : undefined;
  unsent = undefined;
  notify();
  history.replaceState(null, "", `#${thread}`);
  view.scrollToEnd();
  try {
    await session.send(text, again);
    threads.refresh();
  } catch (error) {
    // Another message under this id is stored: said again, this one needs an id of its own.
    if (error.code !== "message_conflict") unsent = { thread, text, id: error.messageId };
    giveBack(thread, text);
    draw(); // the message leaves the chat at once, not a frame after the notice
    report(error);
  }
  return true;
}

const canSend = () => session.loaded && !session.conversation.active;

function submit() {
  const text = composer.value;
  if (!text.trim()) return;
  if (!canSend()) {
    // Said, not swallowed: the text stays where it is.
    if (session.loaded) notify(BUSY, "run_active");
    return;
  }
  write("");
  send(text);
}

function giveBack(thread, text) {
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
  $("send").disabled = !canSend() || !composer.value.trim();
  composer.style.height = "auto";
  composer.style.height = `${Math.min(composer.scrollHeight, COMPOSER_MAX_PX)}px`;
}

function showConnection(state, error) {
  connection.dataset.state = state;
  connection.textContent = STATES.get(state);
  if (state === "expired" || state === "refused") report(error);
  if (state === "live" && $("notice").dataset.code === "expired") notify();
}

function showLatest() {
  $("latest").hidden = view.atEnd || session.conversation.messages.length === 0;
}

function report(error) {
  if (error.status === 401) notify(EXPIRED, "expired");
  else if (error.code === "run_active") notify(BUSY, "run_active");
  else {
    const seconds = Math.ceil(error.retryAfter_ms / 1000);
    notify(seconds ? `${error.message} Try again in ${seconds} s.` : error.message, error.code);
  }
}

function notify(text = "", code = "") {
  $("notice-text").textContent = text;
  $("notice").dataset.code = code;
  $("notice").hidden = !text;
}

/** Deltas would drown a screen reader; it is told when there is something to read. */
function announce(messages) {
  const text = messages.at(-1)?.parts.filter((part) => part?.type === "text").map((part) => part.text).join("\n");
  $("announcer").textContent = `Decopilot answered: ${String(text).slice(0, 500)}`;
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
  submit();
});
$("welcome").addEventListener("click", ({ target }) => {
  const say = target.closest("[data-say]")?.dataset.say;
  if (say) send(say);
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
$("dismiss").addEventListener("click", () => notify());
$("latest").addEventListener("click", () => view.scrollToEnd());
$("scroller").addEventListener("scroll", showLatest, { passive: true });
$("menu").addEventListener("click", () => openMenu(!document.body.classList.contains("menu-open")));
$("backdrop").addEventListener("click", () => openMenu(false));
addEventListener("keydown", (event) => event.key === "Escape" && openMenu(false));
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
