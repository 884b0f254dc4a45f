/** Uploads with their progress: `fetch` tells nothing of a body that is on its way, so this is XMLHttpRequest. */

import { ApiError } from "../client/errors.js";

const UPLOAD_MS = 600_000;

/** Resolves to what the server made of the file; throws an ApiError. `onProgress(share)` is told how much has gone. */
export function upload(client, thread, file, { onProgress, signal }) {
  const url = client.url(`decopilot/threads/${encodeURIComponent(thread)}/files`, { filename: file.name });
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const unreached = () => reject(new ApiError(0, { detail: "The server can't be reached." }));
    request.open("POST", url);
    request.responseType = "json";
    request.timeout = UPLOAD_MS;
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    request.upload.onprogress = ({ loaded, total }) => total > 0 && onProgress(loaded / total);
    request.onerror = request.ontimeout = unreached;
    request.onabort = () => reject(signal.reason);
    request.onload = () => {
      const { status, response } = request;
      if (status >= 200 && status < 300) resolve(response);
      else
        reject(
          new ApiError(status, response ?? undefined, 1_000 * (Number(request.getResponseHeader("Retry-After")) || 0)),
        );
    };
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file);
  });
}
