/** Markdown from models into the page: parsed by marked, let through by DOMPurify, block by block. */

import { Marked } from "../vendor/marked.esm.js";
import DOMPurify from "../vendor/purify.es.js";
import { button, copy, h } from "../dom.js";
import { highlight } from "./highlight.js";

const escapeHtml = (text) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    // Tags are shown, not obeyed: a model that writes HTML means to show it. Tables have no other line break.
    html: ({ text }) => (/^<br *\/?>$/i.test(text) ? "<br>" : escapeHtml(text)),
    // The policy of the page forbids foreign images, and fetching one would tell its host who reads what.
    image: ({ href, text }) => `<a href="${escapeHtml(href)}">${escapeHtml(text || href)}</a>`,
  },
});

const ALLOWED = {
  ALLOWED_TAGS: [
    ..."a blockquote br code del em h1 h2 h3 h4 h5 h6 hr input li ol p pre strong".split(" "),
    ..."table tbody td th thead tr ul".split(" "),
  ],
  ALLOWED_ATTR: ["href", "title", "class", "align", "start", "type", "checked", "disabled"],
  // The pattern below judges every attribute that is not named here.
  ADD_URI_SAFE_ATTR: ["align", "start", "type"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  // No relative links: `#…` would change the thread that is open.
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  RETURN_DOM_FRAGMENT: true,
};

const purify = DOMPurify(window);
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.target = "_blank";
    node.rel = "noopener noreferrer";
  }
  if (node.tagName === "INPUT" && node.getAttribute("type") !== "checkbox") node.remove();
  const language = node.tagName === "CODE" && /(?:^| )language-(\S{1,24})/.exec(node.className)?.[1];
  node.removeAttribute("class");
  if (language) node.dataset.language = language;
});

/** For each container the source of its blocks, and how many are settled: a growing answer redraws its last block only. */
const drawn = new WeakMap();

/** Draw `text`. When `final`, link definitions are heeded wherever they are: they change blocks before them. */
export function drawMarkdown(container, text, { final }) {
  const { blocks, linked } = parse(text);
  const old = (!(final && linked) && drawn.get(container)) || { sources: [], settled: 0 };
  let same = 0;
  while (same < old.sources.length && same < blocks.length && old.sources[same] === blocks[same].source) same += 1;
  while (container.children.length > same) container.lastChild.remove();
  container.append(...blocks.slice(same).map(toElement));
  const settled = final ? blocks.length : Math.max(0, blocks.length - 1);
  for (let at = Math.min(old.settled, same); at < settled; at += 1) settle(container.children[at]);
  drawn.set(container, { sources: blocks.map(({ source }) => source), settled });
}

/** A block that grows no more is worth its colours. */
function settle(block) {
  for (const code of block.querySelectorAll("pre > code[data-language]")) highlight(code, code.dataset.language);
}

function parse(text) {
  try {
    const tokens = marked.lexer(text);
    const blocks = tokens.map((token) => ({ source: token.raw, html: () => marked.parser([token]) }));
    return { blocks, linked: Object.keys(tokens.links).length > 0 };
  } catch {
    // Thousands of nested quotes exhaust the stack.
    return { blocks: [{ source: text, html: () => `<p>${escapeHtml(text)}</p>` }], linked: false };
  }
}

function toElement({ html, source }) {
  const element = document.createElement("div");
  try {
    element.append(purify.sanitize(html(), ALLOWED));
  } catch {
    element.textContent = source;
  }
  for (const pre of element.querySelectorAll("pre")) pre.replaceWith(codeBlock(pre));
  for (const table of element.querySelectorAll("table")) scrollable(table);
  return element;
}

function codeBlock(pre) {
  const copying = button("Copy", "", undefined, () =>
    copy(pre.textContent, (told = "Copy") => (copying.textContent = told)),
  );
  const language = pre.querySelector("code")?.dataset.language ?? "text";
  const bar = h("div", { className: "code-bar" }, h("span", {}, language), copying);
  const code = pre.cloneNode(true);
  code.tabIndex = 0; // a scrollable box must be reachable by keyboard
  return h("div", { className: "code" }, bar, code);
}

function scrollable(table) {
  const box = document.createElement("div");
  box.className = "table";
  box.tabIndex = 0;
  table.replaceWith(box);
  box.append(table);
}
