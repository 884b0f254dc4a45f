/** A gateway that nothing ails, and counts of what is open at both ends. */

import { DecopilotClient } from "../src/index.js";
import { Gateway } from "./gateway.mjs";

/** Returns a thread that nothing happens in, a client, and what counts. */
export async function calm(thread = "t") {
  const gateway = await new Gateway().listen();
  const told = gateway.add(thread, { seed: 1, runs: [] }, { calm: true });
  const counts = { open: 0, peak: 0, made: 0 };
  const client = new DecopilotClient({
    url: gateway.url,
    org: "local",
    fetch: async (url, init) => {
      if (!url.pathname.includes("/attach/")) return fetch(url, init);
      counts.made += 1;
      counts.peak = Math.max(counts.peak, (counts.open += 1));
      init.signal.addEventListener("abort", () => (counts.open -= 1), { once: true });
      return fetch(url, init);
    },
  });
  return { gateway, told, client, counts };
}

/** Wait for what must come soon. */
export async function until(isTrue, what) {
  for (let tries = 0; !(await isTrue()); tries += 1) {
    if (tries > 2_000) throw new Error(`in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
