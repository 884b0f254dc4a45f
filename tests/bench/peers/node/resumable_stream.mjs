// The app of resumable-stream's README, "Usage with explicit resumption": one POST that makes a stream, one GET that resumes.
import { Readable } from "node:stream"
import { createClient } from "redis"
import { createResumableStreamContext } from "resumable-stream"
import { saying, serve } from "./saying.mjs"

const [port, url] = process.argv.slice(2)

async function connected() {
  const client = createClient({ url })
  client.on("error", (error) => console.error("redis:", error.message))
  await client.connect()
  return client
}

const context = createResumableStreamContext({
  waitUntil: (promise) => void promise.catch((error) => console.error("waitUntil:", error)),
  publisher: await connected(),
  subscriber: await connected(),
})

async function* events(work) {
  for await (const chunk of saying(work)) yield `data: ${JSON.stringify(chunk)}\n\n`
  yield "data: [DONE]\n\n"
}

async function begin(id, work) {
  const stream = await context.createNewResumableStream(id, () => ReadableStream.from(events(work)))
  // Nobody is attached to the POST here: as the AI SDK's `consumeSseStream`, read it to its end.
  void (async () => { for await (const _ of stream); })().catch((error) => console.error("producer:", error))
}

async function attach(id, { searchParams }, response) {
  const resumeAt = searchParams.get("resumeAt")
  const stream = await context.resumeExistingStream(id, resumeAt ? parseInt(resumeAt) : undefined)
  if (!stream) return response.writeHead(stream === null ? 422 : 404).end("Stream is already done")
  response.writeHead(200, { "Content-Type": "text/event-stream" })
  response.flushHeaders()
  const source = Readable.fromWeb(stream)
  source.on("error", (error) => { console.error("reader:", error.message); response.destroy() })
  response.on("close", () => source.destroy())
  source.pipe(response)
}

serve(Number(port), begin, attach)
