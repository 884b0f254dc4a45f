/** What is told above the composer, and until when it is true. No DOM. */

const EXPIRED = "Your link has expired: run `decopilot token` or open the printed link again.";

/** What makes a notice untrue. */
export const REACHED = "the server is reached again";
export const MOVED_ON = "the queue is shorter";
export const SUCCEEDED = "something else was done";
export const NEVER = "it stays as long as the thread is shown";

export class Notices {
  #show;
  #until = NEVER;

  /** `show({text, code, action?: {text, act}})` shows a notice, and nothing where the text is empty. */
  constructor(show) {
    this.#show = show;
  }

  tell(text, { code = "", until = SUCCEEDED, action } = {}) {
    this.#until = until;
    this.#show({ text, code, action });
  }

  /** Say why something was refused, or that nobody answered. */
  refused(error, until = untilOf(error)) {
    this.tell(textOf(error), { code: error.code ?? "", until });
  }

  clear() {
    this.tell("", { until: NEVER });
  }

  /** Whatever succeeds shows that the reader has gone on; the rest ends only what it makes untrue. */
  happened(what) {
    if (this.#until === what || (what === SUCCEEDED && this.#until !== NEVER)) this.clear();
  }
}

function untilOf({ status, code }) {
  if (code === "queue_full") return MOVED_ON;
  return status === 0 || status === 401 || status >= 500 ? REACHED : SUCCEEDED;
}

function textOf(error) {
  if (error.status === 401) return EXPIRED;
  if (error.code === "interaction_resolved") return `Decided elsewhere: ${verdictOf(error)}.`;
  const seconds = Math.ceil(error.retryAfter_ms / 1000);
  return seconds ? `${error.message} Try again in ${seconds} s.` : error.message;
}

function verdictOf({ outcome }) {
  return (outcome?.interactions ?? []).map((settled) => settled?.outcome).join(", ") || "it was resolved before";
}
