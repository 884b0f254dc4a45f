/** Forms by which a person decides what an answer waits for: `{element, update(busy), focus(), choose?(number)}`. */

import { button, h } from "../dom.js";
import { highlight } from "./highlight.js";
import { drawMarkdown } from "./markdown.js";
import { show, titleOf } from "./values.js";
import { choicesOf } from "./waiting.js";

const SKIPPED = "The user skipped this question.";
const DENIED = "The user denied this call. Look for another way.";

/** `resolve(resolution)` sends the decision; `doubtful`: the call may already have happened. */
export function askView(part, name, { resolve, doubtful }) {
  if (part.approval) return approvalView(part, name, resolve, doubtful);
  return name === "propose_plan" ? planView(part, resolve) : answerView(part, name, resolve);
}

function approvalView(part, name, resolve, doubtful) {
  const { approval, input } = part;
  const title = titleOf(part, name);
  const asked = h("p", {}, "Decopilot wants to use ", h("strong", {}, title), approval.requestReason ? ": " : ".");
  if (approval.requestReason) asked.append(String(approval.requestReason));
  const code = h("code", {}, show(input));
  highlight(code, "json");
  const told = h(
    "pre",
    { className: "ask-input", tabIndex: 0, "aria-label": "Arguments", "data-testid": "arguments" },
    code,
  );
  const doubt = doubtful
    ? [h("p", { className: "doubt" }, "This call was interrupted: it may already have happened.")]
    : [];
  const row = verdictRow((verdict) => resolve({ approvalId: approval.id, ...verdict }), {
    approve: "Accept",
    deny: "Deny",
    reason: "Reason (optional)",
    otherwise: DENIED,
  });
  return form(`Approval of ${title}`, "Approval", [asked, ...doubt, ...(input === undefined ? [] : [told]), row]);
}

/** The output of `propose_plan` is the verdict on its plan: `{approved, reason?}`. */
function planView({ input, toolCallId }, resolve) {
  const plan = h("div", { className: "markdown ask-plan", tabIndex: 0, "data-testid": "plan" });
  drawMarkdown(plan, String(input?.plan ?? ""), { final: true });
  const row = verdictRow((output) => resolve({ toolCallId, output }), {
    approve: "Let’s go",
    deny: "Keep iterating",
    reason: "What should be different? (optional)",
  });
  return form("Approval of the plan", "Plan", [plan, row]);
}

/** Enter in the reason says no with it: who writes one has something to object. */
function verdictRow(decide, words) {
  const reason = field({ placeholder: words.reason, "aria-label": words.reason, "data-testid": "reason" });
  const give = (approved) => {
    const why = reason.value.trim() || (approved ? undefined : words.otherwise);
    decide({ approved, ...(why ? { reason: why } : {}) });
  };
  onEnter(reason, () => reason.value.trim() && give(false));
  const approve = button(words.approve, "primary", "approve", () => give(true));
  const deny = button(words.deny, "quiet", "deny", () => give(false));
  return h("div", { className: "ask-row" }, reason, h("span", { className: "ask-buttons" }, deny, approve));
}

/** The question of `user_ask` is known: `{prompt, type?: "text" | "choice" | "confirm", options?, default?}`. */
function answerView({ input, toolCallId }, name, resolve) {
  const isQuestion = name === "user_ask";
  const give = (text) => resolve({ toolCallId, output: isQuestion ? { response: text } : text });
  const prompt = String((isQuestion && input?.prompt) || `What is the result of ${name}?`);
  const choices = isQuestion ? choicesOf(input) : [];
  const chosen = choices.map(({ text, value }, index) => {
    const number = h("kbd", {}, String(index + 1));
    const option = button(h("span", {}, text), "option", "option", () => give(value));
    if (index < 9) option.prepend(number);
    return option;
  });
  const other = choices.length > 0 ? "Something else…" : "Your answer";
  const answer = field({ placeholder: other, "aria-label": prompt, "data-testid": "answer" });
  if (isQuestion && typeof input?.default === "string") answer.value = input.default;
  const submit = () => answer.value.trim() && give(answer.value);
  onEnter(answer, submit);
  const buttons = [button("Answer", "primary", "give-answer", submit)];
  if (isQuestion) buttons.unshift(button("Skip", "quiet", "skip", () => give(SKIPPED)));
  const row = h("div", { className: "ask-row" }, answer, h("span", { className: "ask-buttons" }, ...buttons));
  const options = chosen.length > 0 ? [h("div", { className: "ask-options" }, ...chosen)] : [];
  const made = form(prompt, "Question", [h("p", { className: "ask-prompt" }, prompt), ...options, row]);
  if (choices.length === 0) return { ...made, focus: () => answer.focus() };
  const choose = (number) => {
    const option = chosen[number - 1];
    if (!option || option.disabled) return false;
    option.click();
    return true;
  };
  made.element.addEventListener("keydown", (event) => {
    if (!(event.target === answer && answer.value) && choose(digitOf(event))) event.preventDefault();
  });
  return { ...made, choose };
}

/** The digit that a key is, but for those that something else is meant by; NaN for all else. */
export function digitOf({ key, ctrlKey, metaKey, altKey, isComposing }) {
  return /^[1-9]$/.test(key) && !ctrlKey && !metaKey && !altKey && !isComposing ? Number(key) : NaN;
}

function onEnter(input, act) {
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    act();
  });
}

function form(label, kind, children) {
  const element = h(
    "div",
    { className: "ask-form", role: "group", "aria-label": `${kind}: ${label}`, tabIndex: -1 },
    ...children,
  );
  const controls = [...element.querySelectorAll("button, input")];
  return {
    element,
    kind,
    label,
    update(busy) {
      element.setAttribute("aria-busy", String(busy));
      for (const control of controls) control.disabled = busy;
    },
    focus: () => element.focus({ preventScroll: true }),
  };
}

function field(attributes) {
  return h("input", { type: "text", maxLength: 2000, autocomplete: "off", ...attributes });
}
