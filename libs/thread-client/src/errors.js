/** What can go wrong with a call or a stream. */

/** A refusal, or no answer at all (`status` 0). */
export class ApiError extends Error {
  /**
   * `problem` is the body of the refusal (RFC 9457, docs/protocol.md 2); `retryAfter_ms` what its `Retry-After` says.
   * @param {number} status
   * @param {import("./types.js").Problem} [problem]
   * @param {number} [retryAfter_ms]
   * @param {ErrorOptions} [options]
   */
  constructor(status, problem = {}, retryAfter_ms = 0, options = undefined) {
    super(String(problem.detail || problem.title || `The server answered ${status}.`), options);
    this.name = "ApiError";
    this.status = status;
    this.code = problem.code;
    /** What stands in the place of what was wished, where that is why it was refused. */
    this.outcome = problem.outcome;
    this.retryAfter_ms = retryAfter_ms;
    /** The id of the message that was refused, to be sent again under: the same id is the same run. */
    this.messageId = /** @type {string | undefined} */ (undefined);
  }
}

/** What a stream said is nothing that a stream can say: asking for it again would be told the same. */
export class ChunkError extends Error {
  /**
   * @param {string} detail
   * @param {ErrorOptions} [options]
   */
  constructor(detail, options) {
    super(detail, options);
    this.name = "ChunkError";
    this.code = "invalid_chunk";
  }
}

/** A run has failed: `code` is its `failureReason` (docs/protocol.md 38). */
export class RunError extends Error {
  /**
   * @param {string | undefined} detail
   * @param {string | undefined} code
   */
  constructor(detail, code) {
    super(detail || "The run failed.");
    this.name = "RunError";
    this.code = code;
  }
}

/**
 * Make an ApiError of what a response says.
 * @param {Response} response
 */
export async function refusal(response) {
  const problem = await response.json().catch(() => undefined);
  return new ApiError(response.status, problem ?? undefined, retryAfter(response.headers.get("Retry-After")));
}

/**
 * What the code of an application threw: told to whoever looks at errors, and stopping nothing here.
 * @param {unknown} error
 */
export function report(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else console.error(error);
}

/** @param {string | null} value */
function retryAfter(value) {
  if (!value) return 0;
  const wait_ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Math.max(0, wait_ms || 0);
}
