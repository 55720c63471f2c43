/** Drawings to begin with, for models of digits. */

import { SIDE } from "./drawing.js";

/** @import {Point} from "./drawing.js" */

/** @type {Record<string, () => Point[][]>} strokes on a paper of 100 × 100 */
const STROKES = {
  0: () => [arc(50, 50, 22, 32, -90, 270)],
  1: () => [[[38, 30], [54, 17], [54, 84]]],
  2: () => [[...arc(50, 37, 21, 20, 190, 395), [28, 83], [75, 83]]],
  3: () => [[...arc(47, 33, 19, 16, 205, 450), ...arc(47, 66, 22, 17, 270, 515)]],
  4: () => [[[37, 18], [30, 56], [74, 56]], [[62, 18], [60, 85]]],
  5: () => [[[70, 18], [37, 18], [34, 46], ...arc(48, 63, 21, 20, 235, 510)]],
  6: () => [[[62, 16], [46, 29], [34, 47], ...arc(49, 65, 19, 18, 180, -180)]],
  7: () => [[[27, 19], [73, 19], [44, 84]]],
  8: () => [[...arc(50, 33, 16, 16, 90, 450), ...arc(50, 67, 19, 18, 270, 630)]],
  9: () => [[...arc(49, 36, 18, 18, 0, -360), [66, 60], [58, 84]]],
};

/** A part of an ellipse, between two angles in degrees. */
function arc(/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ across, /** @type {number} */ down, /** @type {number} */ from, /** @type {number} */ to) {
  const count = Math.ceil(Math.abs(to - from) / 12);
  return Array.from({ length: count + 1 }, (_, at) => {
    const angle = ((from + ((to - from) * at) / count) * Math.PI) / 180;
    return /** @type {Point} */ ([x + across * Math.cos(angle), y + down * Math.sin(angle)]);
  });
}

/** The classes that there is a drawing of. @param {string[]} classes */
export function samplesFor(classes) {
  return classes.filter((name) => name in STROKES);
}

/** @param {string} name @returns {Point[][]} */
export function strokesOf(name) {
  return STROKES[name]().map((stroke) => stroke.map(([x, y]) => [(x * SIDE) / 100, (y * SIDE) / 100]));
}
