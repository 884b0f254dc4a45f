/** One thread in the list: its name, how it stands, and what can be done with it. */

import { button, h, label, setText } from "../dom.js";
import { icon } from "../icons.js";
import { ago, lookOf, wordsOf } from "./looks.js";

export function createRow({ id }, { onRename, onArchive, onDelete }) {
  const title = h("span", { className: "thread-title" });
  const status = h("span", { className: "thread-status" });
  const time = h("span", { className: "thread-time" });
  const lock = h("span", { className: "thread-lock", role: "img", "data-testid": "thread-lock" }, icon("lock", 12));
  label(lock, "Private");
  const link = h(
    "a",
    { href: `#${id}`, className: "thread", "data-testid": "thread", "data-thread-id": id },
    title,
    h("span", { className: "thread-foot" }, lock, status, time),
  );
  let isArchived = false;
  const rename = button(icon("rename"), "", "rename-thread", () => onRename(id));
  const archive = button(icon("archive"), "", "archive-thread", () => onArchive(id, !isArchived));
  const remove = button(icon("trash"), "", "delete-thread", () => onDelete(id));
  return {
    element: h(
      "li",
      { className: "thread-row" },
      link,
      h("span", { className: "thread-actions" }, rename, archive, remove),
    ),
    update(thread, name, isCurrent) {
      setText(title, name);
      setText(status, wordsOf(thread));
      setText(time, ago(thread.updatedAt));
      lock.hidden = thread.visibility !== "private";
      link.dataset.status = lookOf(thread);
      label(rename, `Rename “${name}”`);
      label(remove, `Delete “${name}”`);
      const archived = thread.archived === true;
      if (archived !== isArchived) archive.replaceChildren(icon(archived ? "unarchive" : "archive"));
      isArchived = archived;
      label(archive, `${isArchived ? "Restore" : "Archive"} “${name}”`);
      if (isCurrent) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    },
  };
}
