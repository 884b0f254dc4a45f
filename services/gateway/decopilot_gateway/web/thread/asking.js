/** Forms by which a person decides what an answer waits for: `{element, update(busy)}`. */

import { h } from "../dom.js";
import { drawMarkdown } from "./markdown.js";

/** `resolve(resolution)` sends the decision. */
export function askView(part, name, resolve) {
  if (part.state === "approval-requested") return approvalView(part, name, resolve);
  return name === "propose_plan" ? planView(part, resolve) : answerView(part, name, resolve);
}

function approvalView({ approval }, name, resolve) {
  const asked = h("p", {}, "Decopilot wants to use ", h("strong", {}, name), approval.requestReason ? ": " : ".");
  if (approval.requestReason) asked.append(String(approval.requestReason));
  const row = verdictRow((verdict) => resolve({ approvalId: approval.id, ...verdict }));
  return form(`Approval of ${name}`, [asked, row]);
}

/** The output of `propose_plan` is the verdict on its plan: `{approved, reason?}`. */
function planView({ input, toolCallId }, resolve) {
  const plan = h("div", { className: "markdown", "data-testid": "plan" });
  drawMarkdown(plan, String(input?.plan ?? ""), { final: true });
  return form("Approval of the plan", [plan, verdictRow((output) => resolve({ toolCallId, output }))]);
}

function verdictRow(decide) {
  const reason = field({ placeholder: "Reason (optional)", "aria-label": "Reason, optional", "data-testid": "reason" });
  const give = (approved) => {
    const why = reason.value.trim();
    decide({ approved, ...(why ? { reason: why } : {}) });
  };
  const approve = button("Approve", "primary", "approve", () => give(true));
  const deny = button("Deny", "quiet", "deny", () => give(false));
  return h("div", { className: "ask-row" }, reason, h("span", { className: "ask-buttons" }, approve, deny));
}

/** The question of `user_ask` is known: `{prompt, type?: "text" | "choice" | "confirm", options?, default?}`. */
function answerView({ input, toolCallId }, name, resolve) {
  const isQuestion = name === "user_ask";
  const give = (text) => resolve({ toolCallId, output: isQuestion ? { response: text } : text });
  const prompt = String((isQuestion && input?.prompt) || `What is the result of ${name}?`);
  const asked = h("p", {}, prompt);
  const options = !isQuestion ? [] : input?.type === "confirm" ? ["yes", "no"] : input?.options;
  const choices = (Array.isArray(options) ? options : []).map(String);
  const chosen = choices.map((option) => button(option, "quiet", "option", () => give(option)));
  const other = choices.length > 0 ? "Something else…" : "Your answer";
  const answer = field({ placeholder: other, "aria-label": prompt, "data-testid": "answer" });
  if (isQuestion && typeof input?.default === "string") answer.value = input.default;
  const submit = () => answer.value.trim() && give(answer.value);
  answer.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  const rows = [h("div", { className: "ask-row" }, answer, button("Answer", "primary", "give-answer", submit))];
  if (chosen.length > 0) rows.unshift(h("div", { className: "ask-row" }, ...chosen));
  return form(`Answer for ${name}`, [asked, ...rows]);
}

function form(label, children) {
  const element = h("div", { className: "ask", role: "group", "aria-label": label, "data-testid": "ask" }, ...children);
  const controls = [...element.querySelectorAll("button, input")];
  return {
    element,
    update(busy) {
      element.setAttribute("aria-busy", String(busy));
      for (const control of controls) control.disabled = busy;
    },
  };
}

function field(attributes) {
  return h("input", { type: "text", maxLength: 2000, autocomplete: "off", ...attributes });
}

function button(text, className, testId, onClick) {
  const element = h("button", { type: "button", className, "data-testid": testId }, text);
  element.addEventListener("click", onClick);
  return element;
}
