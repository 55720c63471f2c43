/** The address, which holds the drawing or the pixels, the model, and the changes. */

import { fromUrlText, toUrlText } from "./bytes.js";
import { Drawing } from "./drawing.js";
import { isOutput, layerOf } from "./network.js";

/** @import {Change, Model, Unit} from "./types.js" */
/** @typedef {{drawing?: Drawing, pixels?: Uint8Array, model: string, changes: string}} Link */

/** The largest factor or value that the server takes, up or down. */
export const LARGEST = 1e6;

/** True if the address has a part of a link, and isn't a place on the page. */
export function holdsLink() {
  const fields = new URLSearchParams(location.hash.slice(1));
  return ["draw", "pixels", "model", "change"].some((name) => fields.has(name));
}

/** @returns {Link} */
export function readLink() {
  const fields = new URLSearchParams(location.hash.slice(1));
  /** @type {Link} */
  const link = { model: fields.get("model") ?? "", changes: fields.get("change") ?? "" };
  try {
    const [drawing, pixels] = [fields.get("draw"), fields.get("pixels")];
    if (drawing) link.drawing = Drawing.decode(drawing);
    else if (pixels) link.pixels = fromUrlText(pixels);
  } catch {
    // a link that was cut off holds nothing
  }
  return link;
}

/** @param {Link} link */
export function writeLink({ drawing, pixels, model, changes }) {
  const fields = new URLSearchParams();
  if (drawing && !drawing.empty) fields.set("draw", drawing.encode());
  else if (pixels) fields.set("pixels", toUrlText(pixels));
  if (model) fields.set("model", model);
  if (changes) fields.set("change", changes);
  history.replaceState(null, "", fields.size ? `#${fields}` : location.pathname);
}

/** Changes as a text, such as `relu_1.17x0~relu_2.3=1.5`. @param {Iterable<[Unit, Change]>} changes */
export function textOfChanges(changes) {
  return [...changes]
    .map(([{ layer, unit }, change]) => `${layer.name}.${unit}${"value" in change ? `=${change.value}` : `x${change.scale}`}`)
    .join("~");
}

/** The changes in a text, and the parts of it that are none. @param {Model} model @param {string} text */
export function changesOf(model, text) {
  /** @type {[Unit, Change][]} */
  const changes = [];
  /** @type {string[]} */
  const faults = [];
  for (const one of text.split("~").filter(Boolean)) {
    const change = changeOf(model, one);
    if (change) changes.push(change);
    else faults.push(one);
  }
  return { changes, faults };
}

/** @param {Model} model @param {string} text @returns {[Unit, Change] | null} null: this model has no such unit, or a number is too large */
function changeOf(model, text) {
  const [, name = "", unit, kind, number] = /^(.+)\.(\d+)([x=])(.+)$/.exec(text) ?? [];
  const layer = layerOf(model, name);
  const value = Number(number);
  if (!layer || isOutput(model, layer) || Number(unit) >= layer.width || !(Math.abs(value) <= LARGEST)) return null;
  return [{ layer, unit: Number(unit) }, kind === "x" ? { scale: value } : { value }];
}
