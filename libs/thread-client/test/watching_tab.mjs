/** A tab that watches, as a worker thread: tells what it hears, and leaves when it is told to. */

import { parentPort, workerData } from "node:worker_threads";

import { DecopilotClient, WatchClient } from "../src/index.js";

const client = new DecopilotClient({ url: workerData.url, org: "local" });
const watch = new WatchClient({ client, scope: workerData.scope });
const leave = watch.subscribe((event) => parentPort.postMessage(event));
parentPort.on("message", (wish) => {
  if (wish === "leave") leave();
});
