/** Whether somebody looks at this page, and whether it has a network. */

/**
 * Calls `onHidden` once the page was hidden for so long, `onShown` when it is looked at or thawed, and `onOnline` when its
 * network is back. Returns what ends that. Where there is no document nobody can hide it.
 * @param {{hidden_ms?: number, onHidden?: () => void, onShown: () => void, onOnline?: () => void}} options
 * @returns {() => void}
 */
export function watchPresence({ hidden_ms = Infinity, onHidden = () => {}, onShown, onOnline = onShown }) {
  if (typeof document === "undefined") return () => {};
  const leaving = new AbortController();
  const { signal } = leaving;
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
  document.addEventListener("visibilitychange", changed, { signal });
  document.addEventListener("resume", shown, { signal });
  globalThis.addEventListener("online", onOnline, { signal });
  return () => {
    clearTimeout(hiding);
    leaving.abort();
  };
}
