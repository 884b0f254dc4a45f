// The producer of @durable-streams/client's README, "High-Throughput Writes: Using IdempotentProducer (Recommended)".
import { DurableStream, IdempotentProducer } from "@durable-streams/client"
import { saying, serve } from "./saying.mjs"

const [port, server] = process.argv.slice(2)

async function begin(id, work) {
  const stream = await DurableStream.create({ url: `${server}/runs/${id}`, contentType: "application/json" })
  const onError = (error) => console.error("Batch failed:", error.message)
  const producer = new IdempotentProducer(stream, `producer-${id}`, { autoClaim: true, onError })
  void (async () => {
    for await (const chunk of saying(work)) producer.append(JSON.stringify(chunk))
    await producer.close()
  })().catch((error) => console.error("producer:", error))
}

serve(Number(port), begin, (_id, _url, response) => response.writeHead(405).end())
