/** The gateway's HTTP calls, relative to wherever the page is served. */

const TIMEOUT_MS = 20_000;
const UPLOAD_MS = 600_000;

/** A refusal, or no answer at all (`status` 0). */
export class ApiError extends Error {
  constructor(status, problem = {}, retryAfter_ms = 0) {
    super(String(problem.detail || problem.title || `The server answered ${status}.`));
    this.status = status;
    this.code = problem.code;
    /** What stands in the place of what was wished, where that is why it was refused. */
    this.outcome = problem.outcome;
    this.retryAfter_ms = retryAfter_ms;
  }
}

export function apiUrl(path, query = {}) {
  const url = new URL(`${encodeURIComponent(document.body.dataset.org)}/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
  return url;
}

export const threadPath = (thread) => `decopilot/threads/${encodeURIComponent(thread)}`;
export const getThreads = async () => (await request("decopilot/threads")).threads ?? [];
export const getThread = (thread, signal) => request(threadPath(thread), { signal });
export const getMessages = (thread, signal) => request(`${threadPath(thread)}/messages`, { signal });

export async function getQueue(thread, signal) {
  return (await request(`${threadPath(thread)}/queue`, { signal })).queue ?? [];
}

/** `options`: `onConflict`, `mode`, `toolApprovalLevel`. */
export function postMessage(thread, message, options = {}) {
  return request(`${threadPath(thread)}/messages`, sending("POST", { messages: [message], ...options }));
}

export function uploadFile(thread, file) {
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  const path = `${threadPath(thread)}/files?filename=${encodeURIComponent(file.name)}`;
  return request(path, { method: "POST", headers, body: file, timeout_ms: UPLOAD_MS });
}

export function postResolution(thread, resolution) {
  return request(`${threadPath(thread)}/interactions`, sending("POST", { resolutions: [resolution] }));
}

export function regenerateAnswer(thread, messageId, options = {}) {
  return request(`${threadPath(thread)}/regenerate`, sending("POST", { messageId, ...options }));
}

/** Resolves to the id of the new thread. */
export async function forkThread(thread, messageId) {
  return (await request(`${threadPath(thread)}/fork`, sending("POST", { messageId, threadId: newId("thrd") }))).taskId;
}

export function cancelRun(thread, runId) {
  return request(`decopilot/cancel/${encodeURIComponent(thread)}`, sending("POST", { runId }));
}

export function withdrawMessage(thread, messageId) {
  return request(`${threadPath(thread)}/queue/${encodeURIComponent(messageId)}`, { method: "DELETE" });
}

export const renameThread = (thread, title) => request(threadPath(thread), sending("PATCH", { title }));
export const deleteThread = (thread) => request(threadPath(thread), { method: "DELETE" });

const sending = (method, body) => ({
  method,
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});

/** An id that nobody can guess, of the form that the server accepts. */
export function newId(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(15));
  return `${prefix}_${btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_")}`;
}

/** Fails with an ApiError that says what the response says. */
export async function refusal(response) {
  const problem = await response.json().catch(() => undefined);
  return new ApiError(response.status, problem ?? undefined, retryAfter(response.headers.get("Retry-After")));
}

async function request(path, { signal, timeout_ms = TIMEOUT_MS, ...init } = {}) {
  const signals = [AbortSignal.timeout(timeout_ms), ...(signal ? [signal] : [])];
  let response;
  try {
    response = await fetch(apiUrl(path), { ...init, signal: AbortSignal.any(signals), cache: "no-store" });
  } catch {
    throw new ApiError(0, { detail: "The server can't be reached." });
  }
  if (!response.ok) throw await refusal(response);
  return response.json();
}

function retryAfter(value) {
  if (!value) return 0;
  const wait_ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Math.max(0, wait_ms || 0);
}
