/** The transport as a user of `useChat` writes it, in each line of the AI SDK: it is compiled, and never run. */

import type { ChatTransport as OldestTransport5, UIMessage as OldestMessage5 } from "ai5-oldest";
import type { ChatTransport as Transport5, UIMessage as Message5 } from "ai5";
import type { ChatTransport as OldestTransport6, UIMessage as OldestMessage6 } from "ai6-strict";
import type { ChatTransport as Transport6, UIMessage as Message6 } from "ai6";
import type { ChatTransport as OldestTransport7, UIMessage as OldestMessage7 } from "ai7-strict";
import type { ChatTransport as Transport7, UIMessage as Message7 } from "ai7";
import { DecopilotChatTransport, DecopilotClient } from "decopilot-client";

const client = new DecopilotClient({ url: "https://chat.example.org/", org: "acme" });
const transport = new DecopilotChatTransport({ client, sdk: 7, body: () => ({ tier: "fast" }), cancelOnAbort: true });

type Told = { answeredBy: string };
type Data = { weather: { city: string } };
export const lines: [
  OldestTransport5<OldestMessage5>,
  Transport5<Message5>,
  OldestTransport6<OldestMessage6>,
  Transport6<Message6>,
  OldestTransport7<OldestMessage7>,
  Transport7<Message7>,
  Transport7<Message7<Told, Data>>,
] = [transport, transport, transport, transport, transport, transport, transport];

const messages: Message7[] = (await transport.load("thrd_1")) as Message7[];
console.log(messages.length, await transport.cancel("thrd_1"));
transport.close();
// @ts-expect-error there is no such line
new DecopilotChatTransport({ client, sdk: 4 });
// @ts-expect-error a transport needs somebody to ask
new DecopilotChatTransport({});
