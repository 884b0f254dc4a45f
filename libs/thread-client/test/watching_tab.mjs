/** A tab that watches, as a worker thread: tells what it hears, and freezes or leaves when it is told to. */

import { parentPort, workerData } from "node:worker_threads";

import { DecopilotClient, WatchClient } from "../src/index.js";

const client = new DecopilotClient({ url: workerData.url, org: "local" });
const watch = new WatchClient({ client, scope: workerData.scope, silence_ms: 400, answer_ms: 300 });
const leave = watch.subscribe((event) => parentPort.postMessage(event));
parentPort.on("message", (wish) => {
  if (wish === "leave") leave();
  // As a frozen page: nothing of it runs, and what it holds it keeps.
  if (wish.freeze_ms) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, wish.freeze_ms);
});
