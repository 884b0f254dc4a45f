// The producer of @durable-streams/client's README, "High-Throughput Writes: Using IdempotentProducer (Recommended)".
// The client's own retries are given to it: by default a batch that meets a server on its way back is lost.
import { createFetchWithBackoff, DurableStream, IdempotentProducer } from "@durable-streams/client"
import { saying, serve } from "./saying.mjs"

const [port, server] = process.argv.slice(2)

const retrying = createFetchWithBackoff(fetch)

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
