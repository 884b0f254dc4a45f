// The producer of @durable-streams/client's README, "High-Throughput Writes: Using IdempotentProducer (Recommended)".
import { setTimeout as sleep } from "node:timers/promises"
import { DurableStream, IdempotentProducer } from "@durable-streams/client"
import { saying, serve } from "./saying.mjs"

const AGAIN_MS = 100
const [port, server] = process.argv.slice(2)

// "Safe to retry on network errors (server deduplicates)", says the README, and by itself it does not: a batch that
// meets a server on its way back would be lost. The client's own `createFetchWithBackoff` would take its 409s from it.
async function retrying(...asked) {
  for (;;) {
    const answer = await fetch(...asked).catch(() => null)
    if (answer !== null && answer.status < 500) return answer
    await sleep(AGAIN_MS)
  }
}

async function begin(id, work) {
  const stream = await DurableStream.create({ url: `${server}/runs/${id}`, contentType: "application/json" })
  const onError = (error) => console.error("Batch failed:", error.message)
  const producer = new IdempotentProducer(stream, `producer-${id}`, { autoClaim: true, onError, fetch: retrying })
  void (async () => {
    for await (const chunk of saying(work)) producer.append(JSON.stringify(chunk))
    await producer.close()
  })().catch((error) => console.error("producer:", error))
}

serve(Number(port), begin, (_id, _url, response) => response.writeHead(405).end())
