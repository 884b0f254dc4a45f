/** Waiting that can be ended. */

/**
 * Resolves when the time is up, or the signal aborts; leaves no timer behind.
 * @param {number} ms `Infinity` waits for the signal alone
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function sleep(ms, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    if (ms !== Infinity) timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
