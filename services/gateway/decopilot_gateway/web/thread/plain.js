/** Markdown as plain words, for where only a line of text can be: what is read aloud, and summaries. No DOM. */

const RULES = [
  // A fence is a mark, what stands in it is said.
  [/^ *(?:```|~~~).*$/gm, ""],
  [/^ *(?:[-*_] *){3,}$/gm, ""],
  [/^ *\|?(?: *:?-+:? *\|)+(?: *:?-+:? *)?$/gm, ""],
  [/^ {0,3}(?:#{1,6}|>|[-*+](?: \[[ xX]\])?)[ \t]+/gm, ""],
  [/!?\[([^\]\n]*)\]\([^()\s]*(?: "[^"\n]*")?\)/g, "$1"],
  [/(`+)([^`\n]+)\1/g, "$2"],
  [/(\*\*|__|~~)(?=\S)([^\n]*?\S)\1/g, "$2"],
  [/(?<![\w*])\*(?=[^\s*])([^*\n]*[^\s*])\*(?![\w*])/g, "$1"],
  [/(?<![\w_])_(?=[^\s_])([^_\n]*[^\s_])_(?![\w_])/g, "$1"],
];
/** Longer texts are cut before they are looked through: nobody reads more in a line. */
const READ_CHARS = 5_000;

export function plain(markdown) {
  const text = String(markdown).slice(0, READ_CHARS);
  return RULES.reduce((soFar, [sign, word]) => soFar.replaceAll(sign, word), text).replaceAll(/\n{2,}/g, "\n").trim();
}
