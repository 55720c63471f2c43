/** The steps of the preparation, one after the other. */

import { byId, make } from "./dom.js";

/** @import {Step} from "./types.js" */

/** Shows the steps; none: the section is hidden. @param {Step[]} steps */
export function showSteps(steps) {
  byId("steps").hidden = steps.length === 0;
  byId("step-list").replaceChildren(...steps.map(figureOf));
}

/** @param {Step} step */
function figureOf({ name, text, picture, height, width }) {
  const canvas = make("canvas", { width, height });
  const image = new ImageData(width, height);
  const colours = new Uint32Array(image.data.buffer);
  for (let at = 0; at < picture.length; at++) colours[at] = (255 << 24) | (0x010101 * picture[at]);
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `The image after the step ${name}`);
  return make("li", {}, canvas, make("h3", {}, name[0].toUpperCase() + name.slice(1)), make("p", { className: "quiet" }, text));
}
