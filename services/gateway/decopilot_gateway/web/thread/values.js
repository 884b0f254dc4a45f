/** What tools take and give, as text. No DOM. */

import { plain } from "./plain.js";

const SHOWN_CHARS = 20_000;
const SNIPPET_CHARS = 100;

/** All of it, as far as anybody reads. */
export function show(value) {
  if (value === undefined) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const more = text.length - SHOWN_CHARS;
  return more > 0 ? `${text.slice(0, SHOWN_CHARS)}\n… ${more.toLocaleString("en")} more characters` : text;
}

/** Its beginning, for one line. */
export function snippet(value) {
  const text = (typeof value === "string" ? value : (JSON.stringify(value) ?? "")).slice(0, SNIPPET_CHARS + 1);
  return text.length > SNIPPET_CHARS ? `${text.slice(0, SNIPPET_CHARS)}…` : text;
}

const TITLES = new Map([
  ["user_ask", "Question"],
  ["propose_plan", "Plan"],
  ["subtask", "Subtask"],
]);

/** The name of a tool, to be read by people: `delete_note` is “Delete note”. */
export function titleOf({ title }, name) {
  if (title || TITLES.has(name)) return title || TITLES.get(name);
  const words = name.replaceAll(/[_-]+/g, " ").trim();
  return words ? words[0].toUpperCase() + words.slice(1) : name;
}

/** What came of a call, in a line: of what people said, their words. */
export function resultOf(name, output) {
  if (name === "user_ask" && typeof output?.response === "string") return snippet(output.response);
  if (name === "propose_plan" && typeof output?.approved === "boolean") {
    const reason = output.reason ? `: ${snippet(output.reason)}` : "";
    return output.approved ? "Approved" : `Not yet${reason}`;
  }
  return snippet(name === "subtask" && typeof output === "string" ? plain(output) : output);
}

/** How long something took. */
export function duration(ms) {
  const seconds = ms / 1_000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** What an answer, or a thread, has used; empty where that is not known. */
export function usageText(usage) {
  const { inputTokens: read, outputTokens: written } = usage ?? {};
  if (!Number.isFinite(read) || !Number.isFinite(written) || read + written === 0) return "";
  return `${count(read)} ${read === 1 ? "token" : "tokens"} in · ${count(written)} out`;
}

function count(tokens) {
  if (tokens < 10_000) return tokens.toLocaleString("en");
  return tokens < 1e6 ? `${(tokens / 1e3).toFixed(1)}k` : `${(tokens / 1e6).toFixed(2)}M`;
}
