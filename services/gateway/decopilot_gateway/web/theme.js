/** Light or dark, as the system has it or as the reader chose; loaded ahead of the first paint. */

import { keep, recall } from "./stored.js";

const KEPT = "decopilot-theme";
/** What a choice is followed by. */
export const NEXT = new Map([
  ["auto", "light"],
  ["light", "dark"],
  ["dark", "auto"],
]);

export function theme() {
  const chosen = recall(KEPT);
  return NEXT.has(chosen) ? chosen : "auto";
}

export function choose(chosen) {
  keep(KEPT, chosen === "auto" ? undefined : chosen);
  show(chosen);
}

function show(chosen) {
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

if (globalThis.document) {
  show(theme());
  // Another tab's choice is this one's.
  addEventListener("storage", ({ key }) => (key === KEPT || key === null) && show(theme()));
}
