/** The parameters of the model that were fetched: in parts, since those of a large layer are more than a page can hold. */

import { getParameters } from "./calls.js";

/** @import {Layer, Model, Parameters} from "./types.js" */

const MOST_PARTS = 16;

export class ParameterParts {
  /** @type {Map<string, Promise<Parameters>>} by layer and first row, the one that was used last at the end */ #parts = new Map();
  /** @type {Map<string, number>} the rows that a part of a layer has, once one has come */ #rows = new Map();

  /** @param {Model} model */
  constructor(model) {
    this.model = model;
  }

  /** The weights that lead to a unit of a linear layer, and its bias. @param {Layer} linear @param {number} unit */
  async of(linear, unit) {
    if (!this.#rows.has(linear.name)) this.#rows.set(linear.name, (await this.#part(linear, 0)).bias.length);
    const rows = this.#rows.get(linear.name) ?? 1;
    const { firstRow, weight, bias, width } = await this.#part(linear, Math.floor(unit / rows) * rows);
    const row = unit - firstRow;
    return { weights: weight.subarray(row * width, (row + 1) * width), bias: bias[row] };
  }

  /** A part, fetched once while it is kept. @param {Layer} linear @param {number} firstRow */
  #part(linear, firstRow) {
    const key = `${linear.name} ${firstRow}`;
    let part = this.#parts.get(key);
    if (!part) {
      part = getParameters(this.model, linear.name, firstRow);
      part.catch(() => this.#parts.delete(key)); // the next look tries again
    }
    this.#parts.delete(key);
    this.#parts.set(key, part);
    for (const oldest of this.#parts.keys()) if (this.#parts.size > MOST_PARTS) this.#parts.delete(oldest);
    return part;
  }
}
