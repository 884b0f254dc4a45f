/** Colours for code, by highlight.js: it and each language are loaded when a finished block first needs them. */

import DOMPurify from "../vendor/purify.es.js";

/** Colouring is one long task: a block that is larger stays plain. */
const CHARS_MAX = 20_000;
const VENDOR = new URL("../vendor/highlight/", import.meta.url);
const ALLOWED = { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true };

const LANGUAGES = new Map(
  Object.entries({
    bash: "sh zsh",
    c: "h",
    cpp: "c++ cc hpp",
    csharp: "c# cs",
    css: "",
    diff: "patch",
    dockerfile: "docker",
    go: "golang",
    ini: "toml",
    java: "",
    javascript: "js jsx mjs cjs",
    json: "jsonc json5",
    kotlin: "kt",
    markdown: "md",
    php: "",
    python: "py",
    ruby: "rb",
    rust: "rs",
    shell: "console shell-session",
    sql: "",
    typescript: "ts tsx",
    xml: "html svg vue",
    yaml: "yml",
  }).flatMap(([name, aliases]) => [name, ...aliases.split(" ")].filter(Boolean).map((alias) => [alias, name])),
);

/** The grammar of a block's language, by the name that a model wrote; undefined if there is none. */
export function languageOf(name) {
  return LANGUAGES.get(String(name).toLowerCase());
}

const loaded = new Map();

/** The same module once, and anew after a failure. */
function load(file) {
  if (!loaded.has(file)) {
    const loading = import(new URL(file, VENDOR)).then((module) => module.default);
    loading.catch(() => loaded.delete(file));
    loaded.set(file, loading);
  }
  return loaded.get(file);
}

/** Colour a `<code>` element. What can't be coloured stays as it is. */
export async function highlight(code, name) {
  const language = languageOf(name);
  const text = code.textContent;
  if (!language || text.length > CHARS_MAX) return;
  try {
    const [highlighter, grammar] = await Promise.all([load("core.min.js"), load(`languages/${language}.min.js`)]);
    if (!highlighter.getLanguage(language)) highlighter.registerLanguage(language, grammar);
    const { value } = highlighter.highlight(text, { language, ignoreIllegals: true });
    code.replaceChildren(DOMPurify.sanitize(value, ALLOWED));
  } catch {
    // Uncoloured code can be read, too.
  }
}
