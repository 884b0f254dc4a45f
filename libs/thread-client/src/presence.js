/** Whether somebody looks at this page, and whether it has a network. */

/**
 * Calls `onHidden` once the page was hidden for so long, `onShown` when it is looked at or thawed, and `onOnline` when its
 * network is back. Returns what ends that. Where there is no document nobody can hide it.
 * @param {{hidden_ms?: number, onHidden?: () => void, onShown: () => void, onOnline?: () => void}} options
 * @returns {() => void}
 */
export function watchPresence({ hidden_ms = Infinity, onHidden = () => {}, onShown, onOnline = onShown }) {
  if (typeof document === "undefined") return () => {};
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let hiding;
  const shown = () => {
    clearTimeout(hiding);
    if (!document.hidden) onShown();
  };
  const changed = () => {
    shown();
    if (document.hidden && hidden_ms !== Infinity) hiding = setTimeout(onHidden, hidden_ms);
  };
  // By hand: the signals of Node are none to the documents that tests make up.
  document.addEventListener("visibilitychange", changed);
  document.addEventListener("resume", shown);
  globalThis.addEventListener?.("online", onOnline);
  return () => {
    clearTimeout(hiding);
    document.removeEventListener("visibilitychange", changed);
    document.removeEventListener("resume", shown);
    globalThis.removeEventListener?.("online", onOnline);
  };
}
