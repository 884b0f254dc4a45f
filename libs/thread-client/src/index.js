/** decopilot-client: durable AI chat runs in a browser. */

export { DecopilotClient } from "./client.js";
export { ApiError } from "./errors.js";
export { newId } from "./ids.js";
export { ThreadChat } from "./thread-chat.js";
export { DecopilotChatTransport } from "./transport.js";
