/** One unit: its value, the weights that lead to it, what feeds it most, and hands to change it. */

import { byId, make, percent, say, short } from "./dom.js";
import { changeName } from "./changes.js";
import { Grid, columnsFor, strongest } from "./grid.js";
import { KINDS, isOutput, layerOf, linearOf, unitName } from "./network.js";
import { controlsFor } from "./controls.js";
import { ParameterParts } from "./parameters.js";

/** @import {Answer, Layer, Model, Unit} from "./types.js" */
/** @import {Changes} from "./changes.js" */

const FEEDERS = 5;

/** Events: `choose` with a `Unit` as `detail`, for one that feeds the one that is shown; `silence` with several. */
export class Inspector extends EventTarget {
  #place = byId("unit");
  /** @type {Unit | null} */ #unit = null;
  /** @type {Answer | null} */ #answer = null;
  /** @type {Answer | null} */ #untouched = null;
  /** @type {(() => void) | null} */ #refresh = null;
  /** @type {Feeders | null} */ #feeders = null;

  #parameters;

  /** @param {Model} model @param {Changes} changes */
  constructor(model, changes) {
    super();
    this.model = model;
    this.changes = changes;
    this.#parameters = new ParameterParts(model);
    this.show(null, false);
    document.addEventListener("colours", () => this.#feeders?.paint()); // here, since grids of units come and go
  }

  /** @param {Answer} answer @param {Answer | null} [untouched] the one without changes, where there are any */
  update(answer, untouched = null) {
    this.#answer = answer;
    this.#untouched = untouched;
    this.#refresh?.();
  }

  /** Shows a unit; null: an invitation. @param {Unit | null} unit @param {boolean} chosen it may be changed */
  show(unit, chosen) {
    this.#unit = unit;
    this.#refresh = this.#feeders = null;
    this.#place.classList.toggle("open", chosen && !!unit);
    if (!unit) {
      const text = "Point at any square to see what it looks for and what feeds it. Click it to silence it, or to set it.";
      this.#place.replaceChildren(make("h3", {}, "One unit"), make("p", { className: "quiet" }, text));
      return;
    }
    const { layer } = unit;
    const name = unitName(this.model, layer, unit.unit);
    const close = make("button", { id: "unit-close", type: "button" }, "Close");
    close.addEventListener("click", () => this.dispatchEvent(new CustomEvent("choose", { detail: null })));
    const value = make("p", { className: "value" });
    const sum = make("p", { className: "sum" });
    const effect = make("p", { className: "effect" });
    const fed = make("div", { className: "fed" });
    this.#place.replaceChildren(close, make("h3", { dir: "auto" }, name), value, sum, fed, effect);
    if (chosen && !isOutput(this.model, layer)) this.#place.append(controlsFor(unit, this.changes, () => this.#valueOf(unit)));
    this.#refresh = () => {
      value.textContent = short(this.#valueOf(unit));
      sum.textContent = KINDS[layer.kind] ?? layer.kind;
      effect.textContent = this.#effect();
    };
    this.#refresh();
    say(`${name}: ${value.textContent}`);
    this.#showFeeders(unit, fed, sum);
  }

  /** What the changes do to the answer, which may be out of sight. */
  #effect() {
    const [now, before] = [this.#answer, this.#untouched];
    return now && before ? `Now it says ${this.#said(now)}. Untouched: ${this.#said(before)}.` : "";
  }

  /** @param {Answer} answer */
  #said({ top, probabilities, activations }) {
    const scores = activations.get(linearOf(this.model, this.model.layers[this.model.layers.length - 1])?.name ?? "");
    return `${this.model.classes[top]}, ${percent(probabilities[top])}${scores ? `, score ${short(scores[top])}` : ""}`;
  }

  /** @param {Unit} unit */
  #valueOf({ layer, unit }) {
    return this.#answer?.activations.get(layer.name)?.[unit] ?? 0;
  }

  /** Fetches the weights that lead to a unit, and shows them. @param {Unit} unit @param {HTMLElement} place @param {HTMLElement} sum */
  async #showFeeders(unit, place, sum) {
    const linear = linearOf(this.model, unit.layer);
    const before = linear && layerOf(this.model, linear.reads);
    if (!linear || !before) return;
    let stored;
    try {
      stored = await this.#parameters.of(linear, unit.unit);
    } catch (error) {
      if (this.#unit === unit) place.replaceChildren(make("p", { className: "quiet" }, `The weights can't be shown: ${/** @type {Error} */ (error).message}`));
      return;
    }
    if (this.#unit !== unit) return; // another one is looked at by now
    const { weights, bias } = stored;
    const feeders = new Feeders(this.model, before, weights);
    this.#feeders = feeders;
    place.replaceChildren(...feeders.elements);
    for (const name of ["choose", "silence"])
      feeders.addEventListener(name, (event) => this.dispatchEvent(new CustomEvent(name, { detail: /** @type {CustomEvent} */ (event).detail })));
    const refresh = this.#refresh;
    this.#refresh = () => {
      refresh?.();
      const values = this.#answer?.activations.get(before.name);
      if (!values) return;
      const total = feeders.update(values) + bias;
      const change = this.changes.get(unit);
      const then = [unit.layer.kind === "linear" ? "" : unit.layer.kind, change ? changeName(change) : ""].filter(Boolean);
      sum.textContent = `sum ${short(total - bias)} + bias ${short(bias)} = ${short(total)}${then.map((step) => `, then ${step}`).join("")}`;
    };
    this.#refresh();
  }
}

/** The weights that lead to a unit as a picture, what arrives by each, and the units that feed it most. */
class Feeders extends EventTarget {
  #picture;
  #products;
  #list = make("ol", { className: "feeders" });
  /** @type {number[]} */ #most = [];

  /** @param {Model} model @param {Layer} before @param {Float32Array} weights */
  constructor(model, before, weights) {
    super();
    this.model = model;
    this.before = before;
    this.weights = weights;
    const columns = before.kind === "input" ? model.shape[1] : columnsFor(before.width);
    this.#products = new Grid(before.width, columns, "");
    this.#picture = new Grid(before.width, columns, "");
    this.#picture.show(weights, strongest(weights));
    this.#picture.canvas.setAttribute("aria-label", `Weights from ${before.name}`);
    this.#products.canvas.setAttribute("aria-label", `Weights times the values of ${before.name}`);
    for (const grid of [this.#picture, this.#products]) grid.fit(142);
    const pictures = make("div", { className: "pictures" }, figure("what it looks for", this.#picture), figure("what it finds", this.#products));
    const silence = make("button", { type: "button" }, "Silence all of these");
    silence.addEventListener("click", () => this.#tell("silence", this.#most.map((unit) => ({ layer: before, unit }))));
    this.elements = [pictures, make("h3", {}, "What feeds it most"), this.#list, silence];
  }

  /** Shows what arrives from these values; gives the sum. @param {Float32Array} values */
  update(values) {
    const products = values.map((value, at) => value * this.weights[at]);
    const most = strongest(products);
    this.#products.show(products, most);
    const order = [...products.keys()].sort((a, b) => Math.abs(products[b]) - Math.abs(products[a]));
    this.#most = order.slice(0, FEEDERS).filter((at) => products[at] !== 0);
    const rows = this.#most.map((at) => this.#row(at, products[at], most));
    const focused = [...this.#list.children].findIndex((row) => row.contains(document.activeElement));
    this.#list.replaceChildren(...(rows.length ? rows : [make("li", {}, "nothing")]));
    this.#list.children[focused]?.querySelector("button")?.focus();
    return products.reduce((sum, product) => sum + product, 0);
  }

  paint() {
    for (const grid of [this.#picture, this.#products]) grid.paint();
  }

  /** @param {string} name @param {Unit | Unit[]} detail */
  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** @param {number} unit @param {number} product @param {number} most */
  #row(unit, product, most) {
    const button = make("button", { type: "button" }, unitName(this.model, this.before, unit));
    button.addEventListener("click", () => this.#tell("choose", { layer: this.before, unit }));
    const bar = make("span", { className: product > 0 ? "bar up" : "bar down" });
    bar.style.transform = `scaleX(${Math.abs(product) / most})`;
    return make("li", {}, button, bar, make("span", {}, short(product)));
  }
}

/** @param {string} text @param {Grid} grid */
function figure(text, grid) {
  return make("figure", {}, make("figcaption", {}, text), grid.element);
}
