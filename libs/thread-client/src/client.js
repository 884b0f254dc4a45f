/** The gateway's HTTP calls (docs/protocol.md), for one org. */

import { ApiError, refusal } from "./errors.js";
import { newId } from "./ids.js";

const TIMEOUT_MS = 20_000;
const UPLOAD_MS = 600_000;
const EVENT_STREAM = { Accept: "text/event-stream" };

/** @typedef {import("./types.js").UIMessage} UIMessage */
/** @typedef {import("./types.js").Receipt} Receipt */
/** @typedef {import("./types.js").RunOptions} RunOptions */
/** @typedef {Record<string, string | undefined>} Query */
/** @typedef {string | undefined | null} Token */

export class DecopilotClient {
  #base;
  #org;
  #token;
  #fetch;
  /** @type {Promise<Token> | undefined} */
  #renewing;

  /**
   * - `url`: where the gateway is; a path prefix ends with a slash, or with a file's name, as that of a page
   * - `org`: whose threads
   * - `token`: a JWT, or a function that gives one, or a promise of one, for each request; it is called with
   *   `{fresh: true}`, once, after a 401. Without one the browser's cookie speaks.
   * - `fetch`: in place of the browser's own
   * @param {{
   *   url: string | URL,
   *   org: string,
   *   token?: Token | ((how: {fresh?: boolean}) => Token | Promise<Token>),
   *   fetch?: (input: URL, init?: RequestInit) => Promise<Response>,
   * }} options
   */
  constructor({ url, org, token, fetch = globalThis.fetch.bind(globalThis) }) {
    this.#base = new URL(url, globalThis.location?.href);
    // Of a page the folder counts, and a prefix may come without its slash.
    this.#base.pathname = this.#base.pathname.replace(/\/[^/]*\.[^/]*$/, "/").replace(/\/?$/, "/");
    this.#org = org;
    this.#token = token;
    this.#fetch = fetch;
  }

  /**
   * Where something of the org is.
   * @param {string} path
   * @param {Query} query
   */
  url(path, query = {}) {
    const url = new URL(`${encodeURIComponent(this.#org)}/${path}`, this.#base);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
    return url;
  }

  /**
   * A response that is not a refusal; its body may go on as long as it likes. Throws an ApiError.
   * @param {string} path
   * @param {RequestInit & {query?: Query}} options
   */
  async open(path, { query, ...init } = {}) {
    let response = await this.#ask(path, query, init, await this.#tokenOf({}));
    if (response.status === 401 && typeof this.#token === "function") {
      response.body?.cancel().catch(() => {});
      response = await this.#ask(path, query, init, await this.#renewed());
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }

  /**
   * The response whose body is a thread's stream of chunks; `query`: `cursor`, `replay`, `rewind`.
   * @param {string} thread
   * @param {Query} query
   * @param {AbortSignal} [signal]
   */
  attach(thread, query, signal) {
    return this.open(`decopilot/attach/${encodeURIComponent(thread)}`, { query, signal, headers: EVENT_STREAM });
  }

  /**
   * A token that begins a stream of this thread, and does nothing else, for a few minutes: for an `EventSource`, which
   * sends no header. The stream brings the next one by itself (`data-attach-token`, docs/protocol.md 63).
   * @param {string} thread
   * @returns {Promise<{token: string, expiresAt: string, url: string}>} `url` may be without scheme and host
   */
  attachToken(thread) {
    return this.request(`${threadPath(thread)}/attach-token`, { method: "POST" });
  }

  /**
   * The response whose body is the org's stream of events.
   * @param {Query} query
   * @param {AbortSignal} [signal]
   */
  watch(query, signal) {
    return this.open("watch", { query, signal, headers: EVENT_STREAM });
  }

  /**
   * The JSON of an answer. Throws an ApiError.
   * @param {string} path
   * @param {RequestInit & {query?: Query, timeout_ms?: number}} options
   * @returns {Promise<any>}
   */
  async request(path, { signal, timeout_ms = TIMEOUT_MS, ...init } = {}) {
    const over = new AbortController();
    const timer = setTimeout(() => over.abort(), timeout_ms);
    const either = signal ? AbortSignal.any([signal, over.signal]) : over.signal;
    try {
      return await (await this.open(path, { ...init, signal: either })).json();
    } catch (cause) {
      throw cause instanceof ApiError ? cause : new ApiError(0, { detail: "The server can't be reached." }, 0, { cause });
    } finally {
      clearTimeout(timer);
    }
  }

  /** @param {Query} [query] */
  async getThreads(query) {
    return (await this.request("decopilot/threads", { query })).threads ?? [];
  }

  /**
   * @param {string} thread
   * @param {AbortSignal} [signal]
   * @returns {Promise<import("./types.js").ThreadState>}
   */
  getThread = (thread, signal) => this.request(threadPath(thread), { signal });

  /**
   * @param {string} thread
   * @param {AbortSignal} [signal]
   * @returns {Promise<import("./types.js").History>}
   */
  getMessages = (thread, signal) => this.request(`${threadPath(thread)}/messages`, { signal });

  /**
   * @param {string} thread
   * @param {AbortSignal} [signal]
   * @returns {Promise<import("./types.js").QueuedMessage[]>}
   */
  async getQueue(thread, signal) {
    return (await this.request(`${threadPath(thread)}/queue`, { signal })).queue ?? [];
  }

  /**
   * `options`: `onConflict` and how to answer (docs/protocol.md 4, 7).
   * @param {string} thread
   * @param {UIMessage} message
   * @param {RunOptions & {onConflict?: string}} options
   * @returns {Promise<Receipt>}
   */
  postMessage(thread, message, options = {}) {
    return this.request(`${threadPath(thread)}/messages`, sending("POST", { messages: [message], ...options }));
  }

  /**
   * @param {string} thread
   * @param {File} file
   * @returns {Promise<{id: string, url: string, mediaType: string, size: number, filename: string}>}
   */
  uploadFile(thread, file) {
    const headers = { "Content-Type": file.type || "application/octet-stream" };
    const query = { filename: file.name };
    return this.request(`${threadPath(thread)}/files`, { method: "POST", headers, query, body: file, timeout_ms: UPLOAD_MS });
  }

  /**
   * @param {string} thread
   * @param {import("./types.js").Resolution[]} resolutions
   * @returns {Promise<Receipt>}
   */
  postResolutions(thread, resolutions) {
    return this.request(`${threadPath(thread)}/interactions`, sending("POST", { resolutions }));
  }

  /**
   * @param {string} thread
   * @param {string | undefined} messageId
   * @param {RunOptions & {requestId?: string}} options
   * @returns {Promise<Receipt>}
   */
  regenerate(thread, messageId, options = {}) {
    return this.request(`${threadPath(thread)}/regenerate`, sending("POST", { messageId, ...options }));
  }

  /**
   * Tell how long chunks took until they were painted. It outlives the page, and the answer has no body.
   * @param {import("./types.js").PaintReport} report
   */
  reportPaints(report) {
    return this.open("decopilot/paint", { ...sending("POST", report), keepalive: true });
  }

  /**
   * Resolves to the id of the new thread.
   * @param {string} thread
   * @param {string} [messageId]
   * @returns {Promise<string>}
   */
  async fork(thread, messageId) {
    const body = { messageId, threadId: newId("thrd") };
    return (await this.request(`${threadPath(thread)}/fork`, sending("POST", body))).taskId;
  }

  /**
   * @param {string} thread
   * @param {string} [runId] without it, the run that is active
   * @returns {Promise<Receipt>}
   */
  cancelRun(thread, runId) {
    return this.request(`decopilot/cancel/${encodeURIComponent(thread)}`, sending("POST", { runId }));
  }

  /**
   * @param {string} thread
   * @param {string} messageId
   * @returns {Promise<Receipt>}
   */
  withdrawMessage(thread, messageId) {
    return this.request(`${threadPath(thread)}/queue/${encodeURIComponent(messageId)}`, { method: "DELETE" });
  }

  /**
   * @param {string} thread
   * @param {string} title
   */
  renameThread = (thread, title) => this.request(threadPath(thread), sending("PATCH", { title }));

  /**
   * @param {string} thread
   * @param {boolean} archived
   */
  archiveThread = (thread, archived) => this.request(threadPath(thread), sending("PATCH", { archived }));

  /**
   * Say who reads a thread: all of its org, or its owner and the org's owners only.
   * @param {string} thread
   * @param {"org" | "private"} visibility
   */
  setVisibility = (thread, visibility) => this.request(threadPath(thread), sending("PATCH", { visibility }));

  /** @param {string} thread */
  deleteThread = (thread) => this.request(threadPath(thread), { method: "DELETE" });

  /** Several requests that are refused at once want one token. */
  #renewed() {
    this.#renewing ??= this.#tokenOf({ fresh: true }).finally(() => (this.#renewing = undefined));
    return this.#renewing;
  }

  /** @param {{fresh?: boolean}} how */
  async #tokenOf(how) {
    if (typeof this.#token !== "function") return this.#token;
    try {
      return await this.#token(how);
    } catch (cause) {
      throw new ApiError(0, { code: "no_token", detail: "There is no token to ask with." }, 0, { cause });
    }
  }

  /**
   * @param {string} path
   * @param {Query | undefined} query
   * @param {RequestInit} init
   * @param {Token} token
   */
  async #ask(path, query, init, token) {
    const headers = new Headers(init.headers);
    if (token) headers.set("Authorization", `Bearer ${token}`);
    return this.#fetch(this.url(path, query), { cache: "no-store", ...init, headers });
  }
}

/** @param {string} thread */
const threadPath = (thread) => `decopilot/threads/${encodeURIComponent(thread)}`;

/**
 * @param {string} method
 * @param {unknown} body
 */
const sending = (method, body) => ({
  method,
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});
