/** A program as a user of the package writes it: it is compiled against the packed package, and never run. */

import { ApiError, DecopilotClient, newId, ThreadChat, WatchClient } from "decopilot-client";
import type { Snapshot, UIMessage, WatchEvent } from "decopilot-client";
import { useThreadChat } from "decopilot-client/react";

const client = new DecopilotClient({
  url: "https://chat.example.org/",
  org: "acme",
  token: async ({ fresh }) => (fresh ? "new" : "old"),
});
const watch = new WatchClient({ client, scope: "me", onState: (state) => console.log(state) });
const unwatch = watch.subscribe(({ type, subject }: WatchEvent) => console.log(type, subject), { types: ["decopilot.*"] });
const chat = new ThreadChat({
  client,
  thread: newId("thrd"),
  fresh: true,
  watch,
  run: { tier: "fast", mode: "plan" },
  sendAutomaticallyWhen: ({ messages }) => messages.length > 0,
  onToolCall: ({ toolCall }) => void chat.addToolOutput({ toolCallId: toolCall.toolCallId, output: toolCall.input }),
  onFinish: ({ message, finishReason, isAbort }) => console.log(message.id, finishReason, isAbort),
});
const leave = chat.subscribe(() => {
  const { status, messages, connection }: Snapshot = chat.getSnapshot();
  const last: UIMessage | undefined = messages.at(-1);
  console.log(status === "streaming", last?.parts[0]?.type, connection.retryAt);
});
try {
  await chat.sendMessage("Hello", { interrupts: true });
} catch (error) {
  if (error instanceof ApiError && error.code === "queue_full") await chat.sendMessage({ text: "Hello", id: error.messageId ?? newId("msg") });
}
// @ts-expect-error a snapshot is not to be changed
chat.getSnapshot().messages.push({ id: "x", role: "user", parts: [] });
// @ts-expect-error there is no such mode
await chat.sendMessage("Hello", { mode: "loud" });

export function useIt(thread: string): string {
  const { messages, sendMessage, pending, addToolApprovalResponse } = useThreadChat({ client, thread, onError: console.error });
  void sendMessage("Hi");
  for (const { id, kind } of pending) if (kind === "approval") void addToolApprovalResponse({ id, approved: true });
  return messages.map(({ id }) => id).join();
}

leave();
unwatch();
