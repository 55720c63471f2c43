/** Short ways to find and make elements. */

/** The element with an id. @template {HTMLElement} T @param {string} id @param {new () => T} [kind] @returns {T} */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!found || (kind && !(found instanceof kind))) throw new Error(`the page has no #${id}`);
  return /** @type {T} */ (found);
}

/**
 * Makes an element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Partial<HTMLElementTagNameMap[K]>} [properties]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Tells screen readers something. @param {string} text */
export function say(text) {
  byId("said").textContent = text;
}

/** A number with as many digits as people read at a glance. @param {number} value */
export function short(value) {
  const size = Math.abs(value);
  const text = size === 0 ? "0" : size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
  return text.replace("-", "−");
}

/** @param {number} share 0 to 1 */
export function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 0.1) return "<0.1 %";
  return value > 99.9 && value < 100 ? ">99.9 %" : `${value.toFixed(1)} %`;
}
