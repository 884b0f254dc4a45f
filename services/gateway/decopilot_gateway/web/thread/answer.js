/** One message as an article: a person's own words, or an answer with all its parts. */

import { button, copy, h, label, setText } from "../dom.js";
import { icon } from "../icons.js";
import { interruptedIn } from "../client/interactions.js";
import { endingOf, endingView } from "./ending.js";
import { fileView } from "./links.js";
import { createView, identityOf } from "./parts.js";
import { sourceList } from "./sources.js";
import { usageText } from "./values.js";

/** A message's text, as its author typed it. */
export function textOf(message) {
  const parts = message?.parts ?? [];
  return parts
    .filter((part) => part?.type === "text")
    .map((part) => String(part.text))
    .join("\n");
}

/** The files that go with a message. */
export function filesOf(message) {
  return (message?.parts ?? []).filter((part) => part?.type === "file");
}

function shell(message, role, ...children) {
  return h(
    "article",
    { className: `message ${role}`, "data-testid": "message", "data-role": role, "data-message-id": message.id },
    h("h2", { className: "visually-hidden" }, role === "user" ? "You" : "Decopilot"),
    ...children,
  );
}

/** A person's own words are shown as typed. */
export function question(message) {
  const body = h("div", { className: "bubble" });
  const files = h("div", { className: "files" });
  const element = shell(message, "user", body, files);
  let attached = "";
  return {
    element,
    update(said, { sent }) {
      const given = filesOf(said);
      const now = given.map(identityOf).join("\n");
      if (attached !== now) files.replaceChildren(...given.map((part) => fileView(part).element));
      attached = now;
      setText(body, textOf(said));
      element.classList.toggle("unconfirmed", !sent);
      return false;
    },
  };
}

/** `actions`: as those of the ConversationView. */
export function answer(message, actions) {
  const { id } = message;
  let shown;
  const body = h("div", { className: "parts" });
  const sources = sourceList();
  const ending = h("div");
  const usage = h("span", { className: "usage", "data-testid": "usage" });
  const copying = tool("copy", "copy", "Copy the answer", () =>
    copy(textOf(shown?.message), (told) => {
      label(copying, told ?? "Copy the answer");
      copying.replaceChildren(icon(told === "Copied" ? "check" : "copy"));
    }),
  );
  const foot = h(
    "div",
    { className: "answer-foot" },
    h(
      "div",
      { className: "answer-tools" },
      copying,
      tool("inspect", "inspect", "Inspect the run", () => actions.inspect(id)),
      // Last, as they are hidden while an answer is written: nothing moves, and no hole is left.
      tool("regenerate", "regenerate", "Regenerate", () => actions.regenerate(id)),
      tool("fork", "fork", "Go on from here in a new chat", () => actions.fork(id)),
    ),
    usage,
  );
  const element = shell(message, "assistant", body, sources.element, ending, foot);
  const views = [];
  return {
    element,
    update(said, { live, end, asks, progress, isLast }) {
      // A finished message changes only by being replaced.
      const isSame =
        shown?.message === said && shown.end === end && isSameSet(shown.asks, asks) && shown.isLast === isLast;
      if (isSame && !live && !shown.live && !shown.later) return false;
      let later = false;
      const context = { live, asks, progress, interrupted: interruptedIn(said), found: foundIn(said) };
      for (const [index, part] of said.parts.entries()) {
        later = viewAt(index, part)?.update(part, context) || later;
      }
      cut(said.parts.length);
      sources.update(said.parts.filter((part) => part?.type === "source-url"));
      element.dataset.streaming = String(live);
      const isEmpty = !views.some(({ view }) => view);
      element.classList.toggle("empty", live && isEmpty);
      if (!isSame || shown.live !== live) {
        const told = live ? { kind: "none" } : endingOf(end, { isEmpty });
        const acts = { again: () => actions.regenerate(id), goOn: actions.goOn };
        ending.replaceChildren(...endingView(told, isLast ? acts : undefined));
      }
      foot.hidden = live;
      copying.hidden = textOf(said) === "";
      setText(usage, usageText(said.metadata?.usage));
      shown = { message: said, live, end, asks, later, isLast };
      return later;
    },
  };

  /** A message that was replaced keeps the views of what it has in common with the one before: nothing flickers. */
  function viewAt(index, part) {
    const identity = identityOf(part);
    if (views[index] && views[index].identity !== identity) cut(index);
    if (!views[index]) {
      views[index] = { identity, view: createView(part) };
      if (views[index].view) body.append(views[index].view.element);
    }
    return views[index].view;
  }

  function cut(length) {
    for (const { view } of views.splice(length)) view?.element.remove();
  }
}

/** What searches tell while they go on, by the ids of their calls. */
function foundIn({ parts }) {
  return new Map(parts.filter(({ type }) => type === "data-web-search").map(({ id, data }) => [id, data?.text]));
}

const isSameSet = (one, other) => [...(one ?? [])].join("\n") === [...(other ?? [])].join("\n") && !one === !other;

function tool(name, sign, said, onClick) {
  const made = button(icon(sign), "icon", name, onClick);
  label(made, said);
  return made;
}
