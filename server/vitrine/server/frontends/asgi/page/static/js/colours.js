/** Colours of numbers: blue for negative ones, the paper's colour for 0, orange for positive ones. Colour-blind safe. */

const STEPS = 255;
const NAMES = ["--low", "--lower", "--zero", "--higher", "--high"];

/** @type {Uint32Array} colours of −1 to 1 in 2 × STEPS + 1 steps, as a canvas has them */
let signed = new Uint32Array();
/** @type {Uint32Array} colours of 0 (paper) to 255 (ink) */
let inks = new Uint32Array();

readColours();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  document.dispatchEvent(new Event("colours"));
});

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const stops = NAMES.map((name) => parsed(style.getPropertyValue(name).trim()));
  signed = Uint32Array.from({ length: 2 * STEPS + 1 }, (_, at) => between(stops, at / (2 * STEPS)));
  const paper = [parsed(style.getPropertyValue("--zero").trim()), parsed(style.getPropertyValue("--ink").trim())];
  inks = Uint32Array.from({ length: 256 }, (_, at) => between(paper, at / 255));
}

/** @param {string} hex `#rgb` or `#rrggbb` */
function parsed(hex) {
  const digits = hex.length === 4 ? [...hex.slice(1)].map((one) => one + one) : [1, 3, 5].map((at) => hex.slice(at, at + 2));
  return digits.map((two) => Number.parseInt(two, 16));
}

/** @param {number[][]} stops @param {number} at 0 to 1 */
function between(stops, at) {
  const place = at * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  const [red, green, blue] = stops[low].map((value, i) => Math.round(value + (place - low) * (stops[low + 1][i] - value)));
  return (255 << 24) | (blue << 16) | (green << 8) | red;
}

/** The colour of a signed number, where `most` is the strongest. @param {number} value @param {number} most */
export function signedColour(value, most) {
  const share = most > 0 ? Math.max(-1, Math.min(1, value / most)) : 0;
  return signed[STEPS + Math.round(Math.sign(share) * Math.sqrt(Math.abs(share)) * STEPS)]; // roots show weak ones, too
}

/** The colour of ink. @param {number} value 0 to `most` @param {number} most */
export function inkColour(value, most) {
  return inks[Math.round(Math.max(0, Math.min(1, value / most)) * 255)];
}
