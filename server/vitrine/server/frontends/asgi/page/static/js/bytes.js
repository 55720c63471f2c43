/** Base64 and arrays of numbers. */

/** @param {string | undefined} text @returns {Uint8Array<ArrayBuffer>} */
export function fromBase64(text = "") {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at++) bytes[at] = raw.charCodeAt(at);
  return bytes;
}

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let raw = "";
  for (let at = 0; at < bytes.length; at += 8192) raw += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(raw);
}

/** The float32 numbers of a tensor, little-endian as all browsers are. @param {string | undefined} text */
export function floatsOf(text) {
  return new Float32Array(fromBase64(text).buffer);
}

/** Base64 for addresses. @param {Uint8Array} bytes */
export function toUrlText(bytes) {
  return toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @param {string} text */
export function fromUrlText(text) {
  return fromBase64(text.replaceAll("-", "+").replaceAll("_", "/"));
}
