/** decopilot-client: durable AI chat runs in a browser. */

/** @typedef {import("./types.js").UIMessage} UIMessage */
/** @typedef {import("./types.js").UIPart} UIPart */
/** @typedef {import("./types.js").ToolPart} ToolPart */
/** @typedef {import("./types.js").Chunk} Chunk */
/** @typedef {import("./types.js").RunOptions} RunOptions */
/** @typedef {import("./types.js").Receipt} Receipt */
/** @typedef {import("./types.js").Resolution} Resolution */
/** @typedef {import("./types.js").Snapshot} Snapshot */
/** @typedef {import("./types.js").Connection} Connection */
/** @typedef {import("./types.js").ConnectionState} ConnectionState */
/** @typedef {import("./types.js").Callbacks} Callbacks */
/** @typedef {import("./types.js").Finish} Finish */
/** @typedef {import("./types.js").Paint} Paint */
/** @typedef {import("./types.js").WatchEvent} WatchEvent */

export { DecopilotClient } from "./client.js";
export { ApiError, ChunkError, RunError } from "./errors.js";
export { newId } from "./ids.js";
export { ThreadChat } from "./thread-chat.js";
export { WatchClient } from "./watch.js";
export { DecopilotChatTransport } from "./transport.js";
