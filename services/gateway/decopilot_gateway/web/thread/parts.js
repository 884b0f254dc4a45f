/**
 * Views of message parts. A view is `{element, update(part, context)}`; `update` returns true if it put some of the
 * work off to a later frame. The context is `{live, asks, interrupted, resolve}`: `live` tells that the part's answer
 * is being streamed; `asks` what that waits for, if it does (a Map of keys to whether they are being decided); `interrupted` are the ids of calls that
 * died with their runner; and `resolve(resolution)` decides.
 */

import { askView } from "./asking.js";
import { h } from "../dom.js";
import { isToolDone, toolName } from "../client/fold.js";
import { keysOf } from "../client/interactions.js";
import { drawMarkdown } from "./markdown.js";

const SHOWN_CHARS = 20_000;
const SNIPPET_CHARS = 100;
/** A file of a thread, on this host: a path, and no other host's address in short. */
const OWN_FILE = /^(\/[\w-]+)*\/[\w-]+\/decopilot\/threads\/[\w-]+\/files\/[\w-]+$/;
/** Drawing may take one part in so many of the time; the longer a text, the rarer it is drawn. */
const IDLE_PER_WORK = 4;

export function createView(part) {
  const type = String(part?.type);
  if (type === "text") return textView();
  if (type === "reasoning") return reasoningView();
  if (type === "dynamic-tool" || type.startsWith("tool-")) return toolView(part);
  if (type === "file") return fileView(part);
  if (type === "source-url") return sourceView(part);
  if (type === "data-mcp-unavailable") return noteView();
  return undefined;
}

/** Parts of the same identity are drawn by the same view, whatever message object they come in. */
export function identityOf(part) {
  const type = String(part?.type);
  return [type, part?.toolCallId, part?.url, type.startsWith("data-") ? part?.id : ""].join("\n");
}

/** What an answer has to do without. */
function noteView() {
  const element = h("p", { className: "aside", "data-testid": "note" });
  return { element, update: ({ data }) => void (element.textContent = String(data?.text ?? "")) };
}

function textView() {
  const element = h("div", { className: "markdown" });
  const draw = markdownInto(element);
  return { element, update: (part, { live }) => draw(String(part.text ?? ""), live && part.state === "streaming") };
}

function reasoningView() {
  const label = h("span");
  const body = h("div", { className: "markdown" });
  const element = h("details", { className: "reasoning" }, h("summary", {}, label), body);
  const draw = markdownInto(body);
  let began;
  let thinking;
  return {
    element,
    update(part, { live }) {
      const now = live && part.state === "streaming";
      if (now !== thinking) {
        if (now) began = performance.now();
        const seconds = began && Math.max(1, Math.round((performance.now() - began) / 1000));
        label.textContent = now ? "Thinking…" : seconds ? `Thought for ${seconds} s` : "Thoughts";
        element.open = now;
        element.classList.toggle("thinking", now);
        thinking = now;
      }
      return draw(String(part.text ?? ""), now);
    },
  };
}

function markdownInto(element) {
  let due = 0;
  let shown = "";
  let wasGrowing = true;
  return (text, growing) => {
    if (text === shown && growing === wasGrowing) return false;
    const began = performance.now();
    if (growing && began < due) return true;
    drawMarkdown(element, text, { final: !growing });
    due = began + (performance.now() - began) * (IDLE_PER_WORK + 1);
    [shown, wasGrowing] = [text, growing];
    return false;
  };
}

function toolView(part) {
  const name = h("span", { className: "tool-name" });
  const state = h("span", { className: "tool-state" });
  const input = h("pre", { tabIndex: 0 });
  const output = h("pre", { tabIndex: 0 });
  const inputBox = h("div", {}, h("h4", {}, "Input"), input);
  const outputBox = h("div", {}, h("h4", {}, "Output"), output);
  const details = h("details", { className: "tool" }, h("summary", {}, name, state), inputBox, outputBox);
  const doubt = h("p", { className: "doubt" }, "This call was interrupted: it may already have happened.");
  const element = h("div", { "data-testid": "tool", "data-tool": toolName(part) }, details, doubt);
  let shown = [];
  let ask;
  return {
    element,
    update(part, { live, asks, interrupted, resolve }) {
      doubt.hidden = !interrupted.has(part.toolCallId);
      const now = [live, part.state, part.rawInput, part.input, part.output, part.errorText, part.preliminary, asks];
      if (now.every((value, index) => value === shown[index]) && shown.length > 0) return false;
      shown = now;
      name.textContent = part.title || toolName(part);
      const key = keysOf(part).find((one) => asks?.has(one));
      const asked = !live && key !== undefined;
      const { look, text } = toolState(part, { live, waits: asks !== undefined, asked });
      details.dataset.look = look;
      state.textContent = text;
      input.textContent = show(part.input === undefined ? part.rawInput : part.input);
      output.textContent = show(part.state === "output-error" ? part.errorText : part.output);
      inputBox.hidden = input.textContent === "";
      outputBox.hidden = output.textContent === "";
      if (asked) {
        if (!ask) {
          ask = askView(part, toolName(part), resolve);
          element.append(ask.element);
          // What is to be approved has to be seen; an answer's question stands in the form.
          details.open = part.state === "approval-requested";
        }
        ask.update(asks.get(key));
      } else if (ask) {
        if (ask.element.contains(document.activeElement)) document.getElementById("scroller").focus();
        ask.element.remove();
        ask = undefined;
        details.open = false;
      }
      return false;
    },
  };
}

function toolState(part, { live, waits, asked }) {
  const { state, approval } = part;
  if (state === "output-error") return { look: "failed", text: snippet(part.errorText) || "Failed" };
  if (state === "output-denied") return { look: "stopped", text: withReason("Denied", approval) };
  if (isToolDone(part)) return { look: "done", text: snippet(part.output) || "Done" };
  if (state === "approval-requested") return { look: "waiting", text: "Waiting for your approval" };
  if (state === "approval-responded" && !approval?.approved) {
    return { look: "stopped", text: withReason("Denied", approval) };
  }
  if (asked) return { look: "waiting", text: "Waiting for your answer" };
  if (live) return { look: "running", text: state === "input-streaming" ? "Preparing…" : "Working…" };
  if (state === "approval-responded") return { look: "done", text: withReason("Approved", approval) };
  return waits ? { look: "done", text: "Answered" } : { look: "stopped", text: "Cancelled" };
}

const withReason = (verdict, approval) => (approval?.reason ? `${verdict}: ${snippet(approval.reason)}` : verdict);

export function fileView({ url, mediaType, filename }) {
  const label = String(filename || mediaType || "File");
  const isOwn = OWN_FILE.test(url);
  if (/^data:image\/(png|jpe?g|gif|webp|avif)[;,]/i.test(url) || (isOwn && /^image\//i.test(mediaType))) {
    return { element: h("img", { className: "file", src: url, alt: label }), update: () => false };
  }
  return { element: link(url, label, "file"), update: () => false };
}

function sourceView({ url, title }) {
  return { element: link(url, String(title || url), "source"), update: () => false };
}

function link(url, text, className) {
  if (!/^https?:\/\//i.test(url) && !OWN_FILE.test(url)) return h("span", { className }, text);
  return h("a", { className, href: url, target: "_blank", rel: "noopener noreferrer" }, text);
}

function show(value) {
  if (value === undefined) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const more = text.length - SHOWN_CHARS;
  return more > 0 ? `${text.slice(0, SHOWN_CHARS)}\n… ${more.toLocaleString()} more characters` : text;
}

function snippet(value) {
  const text = (typeof value === "string" ? value : (JSON.stringify(value) ?? "")).slice(0, SNIPPET_CHARS + 1);
  return text.length > SNIPPET_CHARS ? `${text.slice(0, SNIPPET_CHARS)}…` : text;
}
