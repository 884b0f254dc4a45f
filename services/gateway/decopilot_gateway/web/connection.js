/** How the connection of the open thread stands: a pill in the header, and what to know while there is none. */

import { setText } from "./dom.js";

/** A reconnect that succeeds at once is no news. */
const QUIET_MS = 1_500;

const STATES = new Map([
  ["idle", "Paused"],
  ["connecting", "Connecting…"],
  ["live", "Live"],
  ["reconnecting", "Reconnecting…"],
  ["offline", "Offline"],
  ["expired", "Link expired"],
  ["refused", "Refused"],
  ["deleted", "Deleted"],
]);

/** What is told of a connection that is lost, and when it is tried again. */
export function sentenceOf({ state, error, retryAt }, now) {
  if (state !== "reconnecting" && state !== "offline") return "";
  const seconds = Math.max(0, Math.ceil((retryAt - now) / 1_000));
  const when = seconds > 0 ? ` Trying again in ${seconds} s.` : " Trying again…";
  return `${whyOf(state, error)}${Number.isFinite(retryAt) ? when : ""}`;
}

function whyOf(state, error) {
  if (state === "offline") return "You are offline. Answers go on being written and will be here when you are back.";
  if (error?.code === "too_many_streams") return "Too many streams are open: close other tabs of this page.";
  if (error?.status === 429) return "The server has too much to do.";
  if (error?.status >= 500) return `The server is not available (${error.status}).`;
  return "The connection was lost. Answers go on being written meanwhile.";
}

export class ConnectionView {
  #pill;
  #banner;
  #text;
  #connection = { state: "idle" };
  #lostAt;
  #timer;

  /** `again()`: the reader wants to try now. */
  constructor({ pill, banner, text, now }, again) {
    this.#pill = pill;
    this.#banner = banner;
    this.#text = text;
    now.addEventListener("click", again);
  }

  update(connection) {
    if (connection === this.#connection) return;
    this.#connection = connection;
    const { state } = connection;
    this.#pill.dataset.state = state;
    setText(this.#pill, STATES.get(state) ?? state);
    clearInterval(this.#timer);
    if (sentenceOf(connection, Date.now())) {
      this.#lostAt ??= Date.now();
      this.#timer = setInterval(() => this.#tell(), 250);
    } else if (state !== "connecting") {
      this.#lostAt = undefined;
    }
    this.#tell();
  }

  #tell() {
    const now = Date.now();
    const { state, error } = this.#connection;
    const isNews = state === "offline" || error?.status > 0 || now - this.#lostAt > QUIET_MS;
    const text = isNews ? sentenceOf(this.#connection, now) : "";
    setText(this.#text, text);
    this.#banner.hidden = !text;
  }
}
