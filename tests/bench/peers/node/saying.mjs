// What every producer says (see saying.py): the same UI-message chunks, dated by the monotonic clock.
import { existsSync } from "node:fs"
import { createServer } from "node:http"
import { setTimeout as sleep } from "node:timers/promises"

const STEP = 100
const GATE_POLL_MS = 20
const BREATH = 64

const nowMs = () => Number(process.hrtime.bigint()) / 1e6

function* deltaAndSeams(number, end) {
  const id = `t${Math.floor(number / STEP)}`
  if (number % STEP === 0) {
    yield { type: "start-step" }
    yield { type: "text-start", id }
  }
  const saidAt = process.hrtime.bigint().toString().padStart(19, "0")
  yield { type: "text-delta", id, delta: `${saidAt} ${number} ` }
  if (number % STEP === STEP - 1 || number === end - 1) {
    yield { type: "text-end", id }
    yield { type: "finish-step" }
  }
}

/** The whole run, `start` and `finish` included, as no runner writes them here. */
export async function* saying({ rush, chunks, rate, burst, gate }) {
  const end = rush + chunks
  yield { type: "start", messageId: "a1" }
  for (let number = 0; number < rush; number++) {
    if (number % BREATH === 0) await new Promise(setImmediate)
    yield* deltaAndSeams(number, end)
  }
  while (!existsSync(gate)) await sleep(GATE_POLL_MS)
  const begin = nowMs()
  for (let number = rush; number < end; number++) {
    if ((number - rush) % burst === 0) await sleep(Math.max(0, begin + ((number - rush) * 1000) / rate - nowMs()))
    yield* deltaAndSeams(number, end)
  }
  yield { type: "finish" }
}

/** Serve `POST /runs/{id}` by `begin(id, work)` and `GET` by `attach(id, url, response)`. */
export function serve(port, begin, attach) {
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, "http://localhost")
    const id = url.pathname.split("/").pop()
    try {
      if (request.method === "GET") return await (id === "readyz" ? response.end("ready") : attach(id, url, response))
      let body = ""
      for await (const piece of request) body += piece
      await begin(id, JSON.parse(body))
      response.writeHead(202).end()
    } catch (error) {
      console.error(error)
      if (!response.headersSent) response.writeHead(503)
      response.end()
    }
  })
  server.listen(port, "127.0.0.1")
}

// A process that a killed store takes with it would be another experiment.
process.on("unhandledRejection", (reason) => console.error("unhandled:", reason))
