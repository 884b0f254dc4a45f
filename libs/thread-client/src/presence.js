/** Whether somebody looks at this page, and whether it has a network. */

/**
 * Calls `onHidden` once the page was hidden for so long, and `onShown` when it is looked at, thawed or online again.
 * Returns what ends that. Where there is no document nobody can hide it.
 */
export function watchPresence({ hidden_ms, onHidden, onShown }) {
  if (typeof document === "undefined") return () => {};
  const leaving = new AbortController();
  const { signal } = leaving;
  let hiding;
  const shown = () => {
    clearTimeout(hiding);
    if (!document.hidden) onShown();
  };
  const changed = () => {
    shown();
    if (document.hidden) hiding = setTimeout(onHidden, hidden_ms);
  };
  document.addEventListener("visibilitychange", changed, { signal });
  document.addEventListener("resume", shown, { signal });
  globalThis.addEventListener("online", shown, { signal });
  return () => {
    clearTimeout(hiding);
    leaving.abort();
  };
}
