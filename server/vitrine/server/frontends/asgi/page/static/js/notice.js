/** The line above the page: what went wrong, and a way on. */

import { byId } from "./dom.js";

/** @typedef {{name: string, take: () => void}} Way */

/** True for what an answer doesn't settle, such as a part of a link that can't be shown. */
let lasting = false;

/** Says what went wrong, until it is settled or closed. @param {string} text @param {{way?: Way, lasts?: boolean}} [more] a button; it outlasts answers */
export function notify(text, { way, lasts = false } = {}) {
  lasting = lasts;
  byId("notice-text").textContent = text;
  const button = byId("notice-way");
  button.hidden = !way;
  button.textContent = way?.name ?? "";
  button.onclick = way?.take ?? null;
  byId("notice").hidden = false;
}

/** There is an answer, or nothing to answer: what went wrong is over. */
export function settle() {
  if (!lasting) close();
}

export function close() {
  lasting = false;
  byId("notice").hidden = true;
}
