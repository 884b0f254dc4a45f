/** The shapes of this library, for editors and compilers; nothing of it is code. */

/** @typedef {{type: "text", text: string, state?: "streaming" | "done"}} TextPart */
/** @typedef {{type: "reasoning", text: string, state?: "streaming" | "done"}} ReasoningPart */
/** @typedef {{type: "file", url: string, mediaType: string, filename?: string}} FilePart */
/** @typedef {{id: string, approved?: boolean, reason?: string, requestReason?: string}} Approval */
/**
 * A call of a tool: `state` is `input-streaming`, `input-available`, `approval-requested`, `approval-responded`,
 * `output-available`, `output-error` or `output-denied`; `toolName` is told where `type` is `dynamic-tool`.
 * @typedef {{
 *   type: `tool-${string}` | "dynamic-tool",
 *   toolCallId: string,
 *   toolName?: string,
 *   title?: string,
 *   state: string,
 *   input?: any,
 *   rawInput?: any,
 *   output?: any,
 *   errorText?: string,
 *   preliminary?: boolean,
 *   providerExecuted?: boolean,
 *   approval?: Approval,
 * }} ToolPart
 */
/** @typedef {{type: `data-${string}`, id?: string, data: any}} DataPart */
/** Any part of a message, as the AI SDK names them. @typedef {{type: string, [name: string]: any}} UIPart */
/**
 * A message of the AI SDK: its `UIMessage` is one of these.
 * @typedef {{id: string, role: "user" | "assistant" | "system", parts: UIPart[], metadata?: any}} UIMessage
 */
/** A chunk of the AI SDK's UI message stream. @typedef {{type: string, [name: string]: any}} Chunk */

/** A line of the AI SDK, by the first number of its version. @typedef {5 | 6 | 7} SdkLine */

/** How a run is to answer, and who reads a thread that begins with it (docs/protocol.md 4, 65). */
/**
 * @typedef {{
 *   agent?: {id: string},
 *   tier?: string,
 *   mode?: "default" | "plan" | "web-search" | "gen-image",
 *   toolApprovalLevel?: string,
 *   temperature?: number,
 *   memory?: {windowSize: number},
 *   visibility?: "org" | "private",
 * }} RunOptions
 */

/**
 * The body of a refusal (RFC 9457, docs/protocol.md 2).
 * @typedef {{code?: string, title?: string, detail?: string, outcome?: any}} Problem
 */
/**
 * What a thread answered to a wish (docs/protocol.md 5, 11).
 * @typedef {{taskId?: string, runId: string, messageId?: string, status: string, cursor?: string}} Receipt
 */
/**
 * An answer to something that a run waits for (docs/protocol.md 12).
 * @typedef {{approvalId?: string, approved?: boolean, reason?: string, toolCallId?: string, output?: unknown,
 *   errorText?: string}} Resolution
 */
/** @typedef {{messageId: string, runId?: string, message: UIMessage, interrupts: boolean}} QueuedMessage */
/**
 * A thread's history and what stands beside it (docs/protocol.md 39).
 * @typedef {{
 *   messages: UIMessage[],
 *   cursor?: string | null,
 *   status?: string,
 *   pending?: {kind: string, id: string}[],
 *   queue?: QueuedMessage[],
 *   activeRun?: {runId: string, attempt?: number, cancelRequested?: boolean} | null,
 * }} History
 */

/**
 * How a thread stands (docs/protocol.md 39); `queued` counts the messages in line, `failureReason` is the last run's.
 * @typedef {{
 *   status?: string,
 *   failureReason?: string | null,
 *   pending?: {kind: string, id: string, toolCallId: string, toolName: string}[],
 *   queued?: number,
 *   activeRun?: {runId: string, attempt?: number, cancelRequested?: boolean} | null,
 * }} ThreadState
 */

/**
 * How a run ended, as far as it is known here; `reason` is its `failureReason` (docs/protocol.md 38).
 * @typedef {{finishReason?: string, errorText?: string, aborted?: boolean, status?: string, reason?: string}} RunEnd
 */
/** @typedef {{attempt: number, delayMs: number, category: string}} Retry */
/** @typedef {{toolCallId: string, progress: number, total?: number, message?: string}} ToolProgress */
/** Something that waits for a decision. @typedef {{messageId: string, kind: "approval" | "answer", id: string, isBusy: boolean}} Pending */

/**
 * `idle` without listeners or while hidden for long; `connecting`; `live`; `reconnecting` by itself, and `offline` the same
 * without a network; `expired` (401) and `refused` try again only when woken; `deleted`.
 * @typedef {"idle" | "connecting" | "live" | "reconnecting" | "offline" | "expired" | "refused" | "deleted"} ConnectionState
 */
/**
 * `error` is why it is not live; `retryAt` when the next try is due, in ms since the epoch.
 * @typedef {{state: ConnectionState, error?: Error, retryAt?: number}} Connection
 */

/**
 * All there is to draw of a thread. Nothing in it changes; what is the same as before is the same object.
 * @typedef {object} Snapshot
 * @property {string} thread
 * @property {boolean} loaded whether the history was read
 * @property {boolean} deleted
 * @property {Connection} connection
 * @property {"ready" | "submitted" | "streaming" | "error"} status
 * @property {Error} [error] a refusal (ApiError), or why the last run failed (RunError)
 * @property {readonly UIMessage[]} messages oldest first
 * @property {string} [answeringId] the id of the message that is being streamed
 * @property {string} [finishReason] why the last answer ended, if it did: the AI SDK's reasons
 * @property {ReadonlyMap<string, RunEnd>} ends how answers ended, by the id of their message
 * @property {string} [threadStatus] how the thread's last run stands, as the server has it
 * @property {string} [runId] the run that goes on
 * @property {boolean} isActive a run goes on, or is waited for
 * @property {boolean} isWaiting no chunk of it has come yet
 * @property {boolean} isStopping its end was asked for
 * @property {readonly Pending[]} pending what waits for a decision
 * @property {readonly (QueuedMessage & {isSending: boolean})[]} queue messages in line, the next one first
 * @property {ReadonlySet<string>} sending the ids of messages that the server has not accepted yet
 * @property {Retry} [retry] what the model call that is tried again waits for
 * @property {ReadonlyMap<string, ToolProgress>} progress how far tools are, by the id of their call
 * @property {number} [speaking] grows with each chunk while the answer's next words are waited for
 */

/**
 * `status` is how the run ended (`completed`, `requires_action`, `failed`), `reason` its `failureReason`.
 * @typedef {RunEnd & {message: UIMessage, messages: readonly UIMessage[], isAbort: boolean, isError: boolean}} Finish
 */
/** @typedef {{toolCallId: string, toolName: string, input: any, dynamic?: boolean}} ToolCall */
/**
 * From the moment that the broker stored a chunk to the frame that shows it; wrong by `error_ms` at most, as far as clocks go.
 * @typedef {{runId: string, duration_ms: number, error_ms: number}} Paint
 */
/**
 * What is told of a run's paints; `errorMs` is the largest error of them.
 * @typedef {{threadId: string, runId: string, errorMs: number, paints: {ms: number, chunks: number}[]}} PaintReport
 */
/**
 * What an application is told of a thread.
 * - `onFinish`: an answer has ended, once for each run whose end was seen
 * - `onData`: a `data-…` chunk came, once however often it is told again
 * - `onToolCall`: the model has called a tool, once for each call. Do not await `addToolOutput` in it
 * - `onPaint`: a chunk is on the screen, and how long that took was measured; only where the server wants that
 * - `onError`: what no call throws: a connection that is given up, a decision refused that was sent at the end of an answer
 * @typedef {{
 *   onFinish?: (finish: Finish) => void,
 *   onData?: (chunk: Chunk) => void,
 *   onToolCall?: (call: {toolCall: ToolCall}) => void,
 *   onPaint?: (paint: Paint) => void,
 *   onError?: (error: Error) => void,
 * }} Callbacks
 */

/**
 * An event of an org (docs/protocol.md 40), or `connected`, whose `data` is `{resumed}`.
 * @typedef {{type: string, subject?: string, data?: any, time?: string, id?: string, source?: string}} WatchEvent
 */

export {};
