// Folds streams with the AI SDK's own code, in every version that package.json names.
//
// Reads NDJSON jobs on stdin: {id, chunks: [...]} (one stream of one message) or {id, sse: "..."} (what a gateway sent:
// cut after each `finish`, one message per run), either with `versions: [...]` to leave some out, and with
// `message: {...}` that the (first) stream goes on with.
// Writes NDJSON results: {id, version, ok, errors, messages, message, valid}, `message` being the last of `messages` and
// `valid` whether `validateUIMessages` of that version takes it, as a server does that is posted it.
//
// Bytes go through the real DefaultChatTransport (SSE parser, chunk schema) and readUIMessageStream.

import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';

const names = Object.keys(JSON.parse(readFileSync(new URL('package.json', import.meta.url))).dependencies);
const versions = names.filter(name => name.startsWith('ai'));
const sdks = Object.fromEntries(await Promise.all(versions.map(async name => [name, await import(name)])));

function sseOf(chunks) {
  return chunks.map(chunk => `data: ${JSON.stringify(chunk)}\n\n`).join('');
}

/** Parses SSE text as a browser does; the first chunk that the version's schema refuses ends it, as it ends useChat. */
async function parse(sdk, sse) {
  const transport = new sdk.DefaultChatTransport({ api: '/' });
  const chunks = [];
  try {
    for await (const chunk of transport.processResponseStream(new Blob([sse]).stream())) chunks.push(chunk);
  } catch (error) {
    return { chunks, errors: [`refused chunk ${chunks.length}: ${error.message}`] };
  }
  return { chunks, errors: [] };
}

function cutAtFinish(chunks) {
  const runs = [[]];
  for (const chunk of chunks) {
    runs.at(-1).push(chunk);
    if (chunk.type === 'finish') runs.push([]);
  }
  // Behind the last `finish` may stand what is no part of any message.
  return runs.filter(run => run.some(chunk => !chunk.transient));
}

async function fold(sdk, chunks, begun) {
  // readUIMessageStream shows no state after `start-step` alone; a `start` with the same id makes it show the last one.
  const messageId = chunks.findLast(chunk => chunk.type === 'start')?.messageId;
  const stream = ReadableStream.from(messageId == null ? chunks : [...chunks, { type: 'start', messageId }]);
  const errors = [];
  // An `error` chunk is no fault of the stream. With terminateOnError it would also discard the last states unread.
  const told = chunks.filter(chunk => chunk.type === 'error').map(chunk => chunk.errorText);
  const onError = error => {
    if (told[0] === error?.message) told.shift();
    else errors.push(String(error?.message ?? error));
  };
  let message = null;
  // A copy: it is changed in place.
  const given = { message: structuredClone(begun), stream, onError, terminateOnError: false };
  for await (const state of sdk.readUIMessageStream(given)) message = state;
  return { message, errors };
}

// Not node:readline, which takes U+2028 inside a string for the end of a line.
for (const line of (await text(process.stdin)).split('\n')) {
  if (line === '') continue;
  const job = JSON.parse(line);
  for (const version of job.versions ?? versions) {
    const { chunks, errors } = await parse(sdks[version], job.sse ?? sseOf(job.chunks));
    const runs = job.sse == null ? [chunks] : cutAtFinish(chunks);
    const folded = [];
    for (const [nth, run] of runs.entries()) folded.push(await fold(sdks[version], run, nth ? undefined : job.message));
    errors.push(...folded.flatMap(run => run.errors));
    const messages = folded.map(run => run.message);
    const message = messages.at(-1) ?? null;
    const { success: valid } = await sdks[version].safeValidateUIMessages({ messages: [message] });
    const result = { id: job.id, version, ok: errors.length === 0, errors, messages, message, valid };
    process.stdout.write(JSON.stringify(result) + '\n');
  }
}
