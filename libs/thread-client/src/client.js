/** The gateway's HTTP calls (docs/protocol.md), for one org. */

import { ApiError, refusal } from "./errors.js";
import { newId } from "./ids.js";

const TIMEOUT_MS = 20_000;
const UPLOAD_MS = 600_000;
const EVENT_STREAM = { Accept: "text/event-stream" };

export class DecopilotClient {
  #base;
  #org;
  #token;
  #fetch;

  /**
   * - `url`: where the gateway is, with its path prefix
   * - `org`: whose threads
   * - `token`: a JWT, or a function that gives one, or a promise of one, for each request; it is called with
   *   `{fresh: true}`, once, after a 401. Without one the browser's cookie speaks.
   * - `fetch`: in place of the browser's own
   */
  constructor({ url, org, token, fetch = globalThis.fetch.bind(globalThis) }) {
    // A mere origin gets its slash by this.
    this.#base = new URL(url, globalThis.location?.href).href;
    this.#org = org;
    this.#token = token;
    this.#fetch = fetch;
  }

  /** Where something of the org is. */
  url(path, query = {}) {
    const base = this.#base.endsWith("/") ? this.#base : this.#base.replace(/[^/]*$/, "");
    const url = new URL(`${encodeURIComponent(this.#org)}/${path}`, base);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
    return url;
  }

  /** A response that is not a refusal; its body may go on as long as it likes. Throws an ApiError. */
  async open(path, { query, ...init } = {}) {
    let response = await this.#ask(path, query, init, {});
    if (response.status === 401 && typeof this.#token === "function") {
      response = await this.#ask(path, query, init, { fresh: true });
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }

  /** The response whose body is a thread's stream of chunks; `query`: `cursor`, `replay`, `rewind`. */
  attach(thread, query, signal) {
    return this.open(`decopilot/attach/${encodeURIComponent(thread)}`, { query, signal, headers: EVENT_STREAM });
  }

  /** The response whose body is the org's stream of events. */
  watch(query, signal) {
    return this.open("watch", { query, signal, headers: EVENT_STREAM });
  }

  /** The JSON of an answer. Throws an ApiError. */
  async request(path, { signal, timeout_ms = TIMEOUT_MS, ...init } = {}) {
    const signals = [AbortSignal.timeout(timeout_ms), ...(signal ? [signal] : [])];
    try {
      return await (await this.open(path, { ...init, signal: AbortSignal.any(signals) })).json();
    } catch (error) {
      throw error instanceof ApiError ? error : new ApiError(0, { detail: "The server can't be reached." });
    }
  }

  async getThreads(query) {
    return (await this.request("decopilot/threads", { query })).threads ?? [];
  }

  getThread = (thread, signal) => this.request(threadPath(thread), { signal });
  getMessages = (thread, signal) => this.request(`${threadPath(thread)}/messages`, { signal });

  async getQueue(thread, signal) {
    return (await this.request(`${threadPath(thread)}/queue`, { signal })).queue ?? [];
  }

  /** `options`: `onConflict`, `mode`, `tier`, `agent`, `toolApprovalLevel`, … (docs/protocol.md 4). */
  postMessage(thread, message, options = {}) {
    return this.request(`${threadPath(thread)}/messages`, sending("POST", { messages: [message], ...options }));
  }

  uploadFile(thread, file) {
    const headers = { "Content-Type": file.type || "application/octet-stream" };
    const query = { filename: file.name };
    return this.request(`${threadPath(thread)}/files`, { method: "POST", headers, query, body: file, timeout_ms: UPLOAD_MS });
  }

  postResolutions(thread, resolutions) {
    return this.request(`${threadPath(thread)}/interactions`, sending("POST", { resolutions }));
  }

  regenerate(thread, messageId, options = {}) {
    return this.request(`${threadPath(thread)}/regenerate`, sending("POST", { messageId, ...options }));
  }

  /** Resolves to the id of the new thread. */
  async fork(thread, messageId) {
    const body = { messageId, threadId: newId("thrd") };
    return (await this.request(`${threadPath(thread)}/fork`, sending("POST", body))).taskId;
  }

  cancelRun(thread, runId) {
    return this.request(`decopilot/cancel/${encodeURIComponent(thread)}`, sending("POST", { runId }));
  }

  withdrawMessage(thread, messageId) {
    return this.request(`${threadPath(thread)}/queue/${encodeURIComponent(messageId)}`, { method: "DELETE" });
  }

  renameThread = (thread, title) => this.request(threadPath(thread), sending("PATCH", { title }));
  archiveThread = (thread, archived) => this.request(threadPath(thread), sending("PATCH", { archived }));
  deleteThread = (thread) => this.request(threadPath(thread), { method: "DELETE" });

  async #ask(path, query, init, how) {
    const headers = new Headers(init.headers);
    const token = typeof this.#token === "function" ? await this.#token(how) : this.#token;
    if (token) headers.set("Authorization", `Bearer ${token}`);
    return this.#fetch(this.url(path, query), { cache: "no-store", ...init, headers });
  }
}

const threadPath = (thread) => `decopilot/threads/${encodeURIComponent(thread)}`;

const sending = (method, body) => ({
  method,
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});
