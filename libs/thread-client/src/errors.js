/** What can go wrong with a call. */

/** A refusal, or no answer at all (`status` 0). */
export class ApiError extends Error {
  /** `problem` is the body of the refusal (RFC 9457, docs/protocol.md 2); `retryAfter_ms` what its `Retry-After` says. */
  constructor(status, problem = {}, retryAfter_ms = 0) {
    super(String(problem.detail || problem.title || `The server answered ${status}.`));
    this.name = "ApiError";
    this.status = status;
    this.code = problem.code;
    /** What stands in the place of what was wished, where that is why it was refused. */
    this.outcome = problem.outcome;
    this.retryAfter_ms = retryAfter_ms;
  }
}

/** Make an ApiError of what a response says. */
export async function refusal(response) {
  const problem = await response.json().catch(() => undefined);
  return new ApiError(response.status, problem ?? undefined, retryAfter(response.headers.get("Retry-After")));
}

function retryAfter(value) {
  if (!value) return 0;
  const wait_ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Math.max(0, wait_ms || 0);
}
