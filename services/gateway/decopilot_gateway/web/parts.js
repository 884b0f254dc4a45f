/**
 * Views of message parts. A view is `{element, update(part, live)}`; `live` tells that its answer is being
 * streamed. `update` returns true if it put some of the work off to a later frame.
 */

import { h } from "./dom.js";
import { isToolDone, toolName } from "./fold.js";
import { drawMarkdown } from "./markdown.js";

const SHOWN_CHARS = 20_000;
const SNIPPET_CHARS = 100;
/** Drawing may take one part in so many of the time; the longer a text, the rarer it is drawn. */
const IDLE_PER_WORK = 4;

export function createView(part) {
  const type = String(part?.type);
  if (type === "text") return textView();
  if (type === "reasoning") return reasoningView();
  if (type === "dynamic-tool" || type.startsWith("tool-")) return toolView();
  if (type === "file") return fileView(part);
  if (type === "source-url") return sourceView(part);
  return undefined;
}

function textView() {
  const element = h("div", { className: "markdown" });
  const draw = markdownInto(element);
  return { element, update: (part, live) => draw(String(part.text ?? ""), live && part.state === "streaming") };
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
    update(part, live) {
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

function toolView() {
  const name = h("span", { className: "tool-name" });
  const state = h("span", { className: "tool-state" });
  const input = h("pre", { tabIndex: 0 });
  const output = h("pre", { tabIndex: 0 });
  const inputBox = h("div", {}, h("h4", {}, "Input"), input);
  const outputBox = h("div", {}, h("h4", {}, "Output"), output);
  const element = h("details", { className: "tool" }, h("summary", {}, name, state), inputBox, outputBox);
  let shown = [];
  return {
    element,
    update(part, live) {
      const now = [live, part.state, part.rawInput, part.input, part.output, part.errorText, part.preliminary];
      if (now.every((value, index) => value === shown[index]) && shown.length > 0) return false;
      shown = now;
      name.textContent = part.title || toolName(part);
      const { look, text } = toolState(part, live);
      element.dataset.look = look;
      state.textContent = text;
      input.textContent = show(part.input === undefined ? part.rawInput : part.input);
      output.textContent = show(part.state === "output-error" ? part.errorText : part.output);
      inputBox.hidden = input.textContent === "";
      outputBox.hidden = output.textContent === "";
      return false;
    },
  };
}

function toolState(part, live) {
  if (part.state === "output-error") return { look: "failed", text: snippet(part.errorText) || "Failed" };
  if (part.state === "output-denied") return { look: "stopped", text: "Denied" };
  if (isToolDone(part)) return { look: "done", text: snippet(part.output) || "Done" };
  if (part.state === "approval-requested") return { look: "waiting", text: "Waiting for your approval" };
  if (!live) return { look: "stopped", text: "Cancelled" };
  return { look: "running", text: part.state === "input-streaming" ? "Preparing…" : "Working…" };
}

function fileView({ url, mediaType, filename }) {
  const label = String(filename || mediaType || "File");
  if (/^data:image\/(png|jpe?g|gif|webp|avif)[;,]/i.test(url)) {
    return { element: h("img", { className: "file", src: url, alt: label }), update: () => false };
  }
  return { element: link(url, label, "file"), update: () => false };
}

function sourceView({ url, title }) {
  return { element: link(url, String(title || url), "source"), update: () => false };
}

function link(url, text, className) {
  if (!/^https?:\/\//i.test(url)) return h("span", { className }, text);
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
