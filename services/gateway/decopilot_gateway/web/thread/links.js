/** What leads out of a message: files and links. */

import { h } from "../dom.js";

/** A file of a thread, on this host: a path, and no other host's address in short. */
const OWN_FILE = /^(\/[\w-]+)*\/[\w-]+\/decopilot\/threads\/[\w-]+\/files\/[\w-]+$/;

export function fileView({ url, mediaType, filename }) {
  const label = String(filename || mediaType || "File");
  const isOwn = OWN_FILE.test(url);
  if (/^data:image\/(png|jpe?g|gif|webp|avif)[;,]/i.test(url) || (isOwn && /^image\//i.test(mediaType))) {
    return { element: h("img", { className: "file", src: url, alt: label }), update: () => false };
  }
  return { element: link(url, label, "file"), update: () => false };
}

/** A link that leaves the page; what is no address on the web stays text. */
export function link(url, text, className) {
  if (!/^https?:\/\//i.test(url) && !OWN_FILE.test(url)) return h("span", { className }, text);
  return h("a", { className, href: url, target: "_blank", rel: "noopener noreferrer" }, text);
}
