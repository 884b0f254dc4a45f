/** A search of the web: what was searched for, what is known so far, and where it stands. */

import { h, setText } from "../dom.js";
import { icon } from "../icons.js";
import { isToolDone, toolName } from "../client/fold.js";
import { drawMarkdown } from "./markdown.js";
import { sourceList } from "./sources.js";
import { toolState } from "./tool.js";

export function searchView(part) {
  const query = h("span", { className: "search-query" });
  const state = h("span", { className: "tool-state" });
  const text = h("div", { className: "markdown search-text", tabIndex: 0 });
  const sources = sourceList();
  const summary = h("summary", {}, icon("search"), query, state);
  const details = h("details", { className: "search" }, summary, text, sources.element);
  const element = h("div", { "data-testid": "web-search", "data-tool": toolName(part) }, details);
  let shown = [];
  return {
    element,
    update(part, { live, asks, found }) {
      const soFar = found.get(part.toolCallId);
      const now = [live, part.state, part.input, part.output, asks, soFar];
      if (now.every((value, index) => value === shown[index]) && shown.length > 0) return false;
      const wasLive = shown[0];
      shown = now;
      const output = part.state === "output-available" ? part.output : undefined;
      const told = toolState(part, { live, waits: asks !== undefined, asked: false });
      const count = sources.update(Array.isArray(output?.sources) ? output.sources : []);
      setText(query, typeof part.input?.query === "string" ? part.input.query : "Searching the web");
      const states = { running: "Searching…", done: count === 1 ? "1 source" : `${count} sources` };
      setText(state, states[told.look] ?? told.text);
      details.dataset.look = told.look;
      drawMarkdown(text, String(output?.text ?? soFar ?? ""), { final: isToolDone(part) });
      text.hidden = text.textContent === "";
      // It is read while it comes; then the answer says what is in it.
      if (live !== wasLive || isToolDone(part)) details.open = live && !isToolDone(part);
      return false;
    },
  };
}
