/** Where an answer has its knowledge from. */

import { h } from "../dom.js";
import { link } from "./links.js";

/** Each address once, as it came first: `{url, title}`. */
export function distinct(sources) {
  const known = new Map();
  for (const { url, title } of sources) {
    if (typeof url === "string" && !known.has(url)) known.set(url, { url, title: String(title || hostOf(url)) });
  }
  return [...known.values()];
}

/** `update(sources)` returns how many there are. */
export function sourceList() {
  const list = h("ol", { className: "sources" });
  const element = h("div", { className: "sources-box", "data-testid": "sources", hidden: true }, list);
  let shown = "";
  return {
    element,
    update(given) {
      const sources = distinct(given.filter((one) => typeof one === "object" && one !== null));
      const now = JSON.stringify(sources);
      if (now !== shown) list.replaceChildren(...sources.map(row));
      shown = now;
      element.hidden = sources.length === 0;
      return sources.length;
    },
  };
}

function row({ url, title }) {
  return h("li", {}, link(url, title, "source"), h("span", { className: "source-host" }, hostOf(url)));
}

function hostOf(url) {
  try {
    return new URL(url).host.replace(/^www\./, "");
  } catch {
    return "";
  }
}
