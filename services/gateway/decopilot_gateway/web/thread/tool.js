/** A call of a tool: how it stands, what it was given and gave, and how long it took. */

import { h, setText } from "../dom.js";
import { isToolDone, toolName } from "../client/fold.js";
import { keysOf } from "../client/interactions.js";
import { drawMarkdown } from "./markdown.js";
import { duration, resultOf, show, snippet, titleOf } from "./values.js";

const TICK_MS = 1_000;
/** What takes less is not worth a number. */
const TOLD_MS = 500;

export function toolView(part) {
  const tool = toolName(part);
  const name = h("span", { className: "tool-name" });
  const state = h("span", { className: "tool-state" });
  const time = h("span", { className: "tool-time" });
  const input = h("pre", { tabIndex: 0 });
  const output = h("div", { className: "tool-output" });
  const inputBox = h("div", {}, h("h4", {}, "Input"), input);
  const outputBox = h("div", {}, h("h4", {}, "Output"), output);
  const summary = h("summary", {}, name, state, time);
  const details = h("details", { className: "tool" }, summary, inputBox, outputBox);
  const bar = progressView();
  const doubt = h("p", { className: "doubt" }, "This call was interrupted: it may already have happened.");
  const element = h("div", { "data-testid": "tool", "data-tool": tool }, details, bar.element, doubt);
  const clock = clockOf(time);
  let shown = [];
  return {
    element,
    update(part, { live, asks, interrupted, progress }) {
      doubt.hidden = !interrupted.has(part.toolCallId);
      const told = live && !isToolDone(part) ? progress.get(part.toolCallId) : undefined;
      const now = [
        live,
        part.state,
        part.rawInput,
        part.input,
        part.output,
        part.errorText,
        part.preliminary,
        asks,
        told,
      ];
      if (now.every((value, index) => value === shown[index]) && shown.length > 0) return false;
      shown = now;
      setText(name, titleOf(part, tool));
      const asked = !live && keysOf(part).some((key) => asks?.has(key));
      const { look, text } = toolState(part, { live, waits: asks !== undefined, asked });
      details.dataset.look = look;
      setText(state, text);
      clock(look === "running" && part.state !== "input-streaming");
      time.hidden = look === "waiting"; // that is how long a person takes
      bar.update(told);
      setText(input, show(part.input === undefined ? part.rawInput : part.input));
      inputBox.hidden = input.textContent === "";
      const result = part.state === "output-error" ? part.errorText : part.output;
      outputBox.hidden = result === undefined || show(result) === "";
      drawOutput(output, tool, part.state === "output-error" ? String(result) : result, { final: !part.preliminary });
      // What comes while it works is there to be seen.
      if (part.preliminary && live && !details.dataset.shown) details.open = details.dataset.shown = true;
      if (details.dataset.shown && isToolDone(part)) {
        details.open = false;
        delete details.dataset.shown;
      }
      return false;
    },
  };
}

/** What another agent says is Markdown, as an answer is; all else is shown as it is. */
function drawOutput(element, tool, output, { final }) {
  if (tool === "subtask" && typeof output === "string") {
    if (!element.firstChild?.classList.contains("markdown"))
      element.replaceChildren(h("div", { className: "markdown" }));
    drawMarkdown(element.firstChild, output, { final });
    return;
  }
  if (element.firstChild?.tagName !== "PRE") element.replaceChildren(h("pre", { tabIndex: 0 }));
  setText(element.firstChild, show(output));
}

/** How far it says that it is. Without a total nobody knows how much that is. */
function progressView() {
  const bar = h("progress", {});
  const text = h("span", {});
  const element = h("div", { className: "tool-progress", "data-testid": "progress", hidden: true }, bar, text);
  return {
    element,
    update(told) {
      element.hidden = told === undefined;
      if (!told) return;
      const { progress, total, message } = told;
      const isMeasured = Number.isFinite(progress) && total > 0;
      if (isMeasured) [bar.max, bar.value] = [total, progress];
      else bar.removeAttribute("value");
      const share = isMeasured
        ? `${Math.round((100 * progress) / total)} %`
        : Number.isFinite(progress)
          ? String(progress)
          : "";
      setText(text, [share, message].filter(Boolean).join(" · "));
      bar.setAttribute("aria-label", message ? String(message) : "Progress");
    },
  };
}

/** Shows how long it has been at work, as far as this page has seen that. */
function clockOf(element) {
  let began;
  let ticking;
  const tell = () => {
    const ms = performance.now() - began;
    setText(element, ms < TOLD_MS ? "" : ticking ? `${Math.floor(ms / 1_000)} s` : duration(ms));
  };
  return (isRunning) => {
    if (isRunning === (ticking !== undefined)) return;
    if (isRunning) {
      began = performance.now();
      ticking = setInterval(() => (element.isConnected ? tell() : clearInterval(ticking)), TICK_MS);
    } else {
      clearInterval(ticking);
      ticking = undefined;
      tell();
    }
  };
}

export function toolState(part, { live, waits, asked }) {
  const { state, approval } = part;
  if (state === "output-error") return { look: "failed", text: snippet(part.errorText) || "Failed" };
  if (state === "output-denied") return { look: "stopped", text: withReason("Denied", approval) };
  if (isToolDone(part)) return { look: "done", text: resultOf(toolName(part), part.output) || "Done" };
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
