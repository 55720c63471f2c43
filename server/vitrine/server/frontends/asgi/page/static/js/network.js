/** A model's layers as people think of them: rooms of a linear layer and what follows it. */

/** @import {Layer, Model} from "./types.js" */

/** @typedef {{title: string, layers: Layer[]}} Room */

/** The rooms behind the input. @param {Model} model @returns {Room[]} */
export function roomsOf(model) {
  /** @type {Room[]} */
  const rooms = [];
  for (const layer of model.layers.slice(1)) {
    if (layer.kind === "linear" || !rooms.length) rooms.push({ title: `Layer ${rooms.length + 1}`, layers: [] });
    rooms[rooms.length - 1].layers.push(layer);
  }
  rooms[rooms.length - 1].title = "The output";
  return rooms;
}

/** The linear layer whose weights lead to a layer's units; undefined for the input. @param {Model} model @param {Layer} layer @returns {Layer | undefined} */
export function linearOf(model, layer) {
  if (layer.kind === "linear") return layer;
  const before = layerOf(model, layer.reads);
  return before && linearOf(model, before);
}

/** @param {Model} model @param {string} name */
export function layerOf(model, name) {
  return model.layers.find((layer) => layer.name === name);
}

/** @param {Model} model @param {Layer} layer */
export function isOutput(model, layer) {
  return layer === model.layers.at(-1);
}

/** True where each unit stands for a class. @param {Model} model @param {Layer} layer */
export function isOfClasses(model, layer) {
  const output = model.layers[model.layers.length - 1];
  return layer === output || (layer === linearOf(model, output) && layer.width === model.classes.length);
}

/** A unit's name for people. @param {Model} model @param {Layer} layer @param {number} unit */
export function unitName(model, layer, unit) {
  if (layer.kind === "input") return `pixel ${Math.floor(unit / model.shape[1]) + 1}, ${(unit % model.shape[1]) + 1}`;
  return isOfClasses(model, layer) ? `${model.classes[unit]} in ${layer.name}` : `${layer.name} · ${unit}`;
}

/** What a kind of layer does, in a few words. @type {Record<string, string>} */
export const KINDS = {
  input: "pixels",
  linear: "weighted sums",
  relu: "what is positive passes",
  softmax: "probabilities",
  sigmoid: "0 to 1 each",
};
