/** The gateway's HTTP calls, relative to wherever the page is served. */

const TIMEOUT_MS = 20_000;

/** A refusal, or no answer at all (`status` 0). */
export class ApiError extends Error {
  constructor(status, problem = {}, retryAfter_ms = 0) {
    super(String(problem.detail || problem.title || `The server answered ${status}.`));
    this.status = status;
    this.code = problem.code;
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

export function postMessage(thread, message) {
  return request(`${threadPath(thread)}/messages`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ messages: [message] }),
  });
}

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

async function request(path, { signal, ...init } = {}) {
  const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(signal ? [signal] : [])];
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
