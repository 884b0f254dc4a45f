/** The events of an org come over one connection per browser, each once, whichever tab goes. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { Worker } from "node:worker_threads";

import { DecopilotClient, WatchClient } from "../src/index.js";
import { until } from "./counting.mjs";

/** A watch endpoint by the protocol: numbered events, kept, and told on from a cursor. */
class Watchable {
  events = [];
  streams = new Set();
  most = 0;

  async listen() {
    this.server = createServer((request, response) => this.#answer(request, response));
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}/`;
    return this;
  }

  async close() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  say(subject) {
    this.events.push({ id: `e${this.events.length}`, type: "decopilot.step", subject, data: {}, time: "now" });
    for (const tell of this.streams) tell();
  }

  cut() {
    this.server.closeAllConnections();
  }

  #answer(request, response) {
    const cursor = new URL(request.url, this.url).searchParams.get("cursor");
    let at = cursor === null ? this.events.length : Number(cursor);
    const write = (id, name, data) => response.write(`id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write("retry: 1\n\n");
    write(at, "connected", { organizationId: "local", resumed: cursor !== null });
    const tell = () => {
      for (; at < this.events.length; at += 1) write(at + 1, this.events[at].type, this.events[at]);
    };
    this.streams.add(tell);
    for (const [from, name] of [[request.socket, "end"], [response, "close"]]) from.on(name, () => this.streams.delete(tell));
    // Once it is known who has left: that may come in the same turn.
    setImmediate(() => (this.most = Math.max(this.most, this.streams.size)));
    tell();
  }
}

class Tab {
  heard = [];

  constructor({ url }, scope) {
    this.worker = new Worker(new URL("watching_tab.mjs", import.meta.url), { workerData: { url, scope } });
    this.worker.on("message", (event) => this.heard.push(event));
  }

  get subjects() {
    return this.heard.filter(({ type }) => type !== "connected").map(({ subject }) => subject);
  }

  get connections() {
    return this.heard.filter(({ type }) => type === "connected").map(({ data }) => data.resumed);
  }

  isConnected() {
    return this.connections.length > 0;
  }

  ask(wish) {
    this.worker.postMessage(wish);
  }
}

const numbers = (from, to) => Array.from({ length: to - from }, (_, place) => String(from + place));

async function three(server, scope) {
  const tabs = [];
  for (let place = 0; place < 3; place += 1) {
    tabs.push(new Tab(server, scope));
    // One after the other, so that the first one leads.
    await until(() => tabs[place].isConnected(), `tab ${place} to be connected`);
  }
  return tabs;
}

const end = async (server, tabs) => {
  await Promise.all(tabs.map(({ worker }) => worker.terminate()));
  await server.close();
};

test("three tabs hear everything once over one connection, though the one that has it is killed", async () => {
  const server = await new Watchable().listen();
  const tabs = await three(server, "killed");
  assert.equal(server.streams.size, 1);
  let said = 0;
  const talking = setInterval(() => server.say(String(said++)), 3);
  await until(() => said > 20, "something to be said");
  await tabs[0].worker.terminate();
  const gone = said;
  const [, ...others] = tabs;
  await until(() => others.every(({ subjects }) => subjects.length > gone + 20), "the others to go on");
  clearInterval(talking);
  await until(() => others.every(({ subjects }) => subjects.at(-1) === String(said - 1)), "all to be heard");
  for (const { subjects, connections } of others) {
    assert.deepEqual(subjects, numbers(Number(subjects[0]), said));
    assert.deepEqual(connections, [false, true], "nothing was missed");
  }
  assert.deepEqual([server.streams.size, server.most], [1, 1]);
  await end(server, others);
});

test("a tab that leaves gives the lead away, and the last one closes the connection", async () => {
  const server = await new Watchable().listen();
  const tabs = await three(server, "leaving");
  for (const [place, tab] of tabs.entries()) {
    tab.ask("leave");
    const rest = tabs.slice(place + 1);
    await until(() => server.streams.size === (rest.length > 0 ? 1 : 0), "the lead to go on");
    server.say(String(place));
    await until(() => rest.every(({ subjects }) => subjects.length === place + 1), "those that are left to hear");
    assert.deepEqual(tab.subjects, numbers(0, place));
  }
  await end(server, tabs);
});

test("who comes later is told that there is a connection, and hears only what it asked for", async () => {
  const server = await new Watchable().listen();
  const client = new DecopilotClient({ url: server.url, org: "local" });
  const watch = new WatchClient({ client, locks: null });
  const [first, second] = [[], []];
  const leaveFirst = watch.subscribe(({ type }) => first.push(type), { types: ["decopilot.*"] });
  await until(() => first.length === 1, "the connection");
  const leaveSecond = watch.subscribe(({ type }) => second.push(type), { types: ["decopilot.thread.*"] });
  server.say("t");
  await until(() => first.length === 2, "the event");
  assert.deepEqual([first, second], [["connected", "decopilot.step"], ["connected"]]);
  server.cut();
  watch.wake();
  await until(() => second.length === 2, "the next connection");
  server.say("t");
  await until(() => first.length === 4, "the next event");
  assert.deepEqual(second, ["connected", "connected"]);
  leaveFirst();
  leaveSecond();
  await until(() => server.streams.size === 0 && watch.state === "idle", "the end");
  await server.close();
});
