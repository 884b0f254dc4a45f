/**
 * Views of message parts. A view is `{element, update(part, context)}`; `update` returns true if it put some of the
 * work off to a later frame. The context is `{live, asks, interrupted, progress, found}`: `live` tells that the part's
 * answer is being streamed; `asks` are the keys of what that waits for, if it does; `interrupted` the ids of calls that
 * died with their runner; `progress` how far tools are, and `found` what searches have found, by the ids of their calls.
 */

import { h } from "../dom.js";
import { toolName } from "../client/fold.js";
import { fileView } from "./links.js";
import { drawMarkdown } from "./markdown.js";
import { searchView } from "./search.js";
import { toolView } from "./tool.js";

/** Drawing may take one part in so many of the time; the longer a text, the rarer it is drawn. */
const IDLE_PER_WORK = 4;

export function createView(part) {
  const type = String(part?.type);
  if (type === "text") return textView();
  if (type === "reasoning") return reasoningView();
  if (type === "dynamic-tool" || type.startsWith("tool-")) {
    return toolName(part) === "web_search" ? searchView(part) : toolView(part);
  }
  if (type === "file") return fileView(part);
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
  const element = h("p", { className: "aside note", "data-testid": "note" });
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
  const element = h("details", { className: "reasoning", "data-testid": "reasoning" }, h("summary", {}, label), body);
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
    // Most of the work comes behind this: laying out and painting what was drawn. A timer runs after them.
    due = Infinity;
    setTimeout(() => (due = began + (performance.now() - began) * (IDLE_PER_WORK + 1)), 0);
    [shown, wasGrowing] = [text, growing];
    return false;
  };
}
