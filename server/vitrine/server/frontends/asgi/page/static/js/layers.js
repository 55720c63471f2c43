/** The picture of every layer, with that of a second image below it. */

import { byId, make, short } from "./dom.js";
import { Grid, columnsFor, strongest } from "./grid.js";
import { KINDS, isOfClasses, roomsOf } from "./network.js";
import { inkColour, signedColour } from "./colours.js";

/** @import {Answer, Explanation, Layer, Model, Unit} from "./types.js" */
/** @import {Changes} from "./changes.js" */

/** @typedef {{layer: Layer, grid: Grid, second: Grid, secondPlace: HTMLElement, most: HTMLElement, place: HTMLElement}} Shown */

/** Events: `point` and `choose` with a `Unit` as `detail`, `away`. */
export class Layers extends EventTarget {
  /** @type {Shown[]} */ #shown = [];
  #pixels;

  /** @param {Model} model */
  constructor(model) {
    super();
    this.model = model;
    const [input] = model.layers;
    this.#pixels = this.#show(input, model.shape[1], 280);
    this.#pixels.grid.colour = this.#pixels.second.colour = inkColour;
    byId("pixels").replaceChildren(this.#pixels.grid.element, this.#pixels.secondPlace);
    byId("layers").replaceChildren(
      ...roomsOf(model).map(({ title, layers }) => {
        const halves = layers.map((layer) => this.#figure(layer));
        const size = make("span", { className: "quiet" }, `${layers[0].width} units`);
        return make("li", {}, make("div", { className: "layer-title" }, make("h3", {}, title), size), make("div", { className: "halves" }, ...halves));
      }),
    );
    document.addEventListener("colours", () => this.#shown.forEach(({ grid, second }) => [grid, second].forEach((one) => one.paint())));
    new ResizeObserver(() => this.#fit()).observe(byId("layers"));
    new ResizeObserver(() => this.#fit()).observe(byId("pixels"));
    this.#fit();
  }

  /** @param {Layer} layer */
  #figure(layer) {
    const shown = this.#show(layer, columnsFor(layer.width));
    const caption = make("figcaption", {}, make("span", {}, make("code", {}, layer.name), ` ${KINDS[layer.kind] ?? layer.kind}`), shown.most);
    shown.place = make("figure", {}, caption, shown.grid.element, shown.secondPlace);
    if (isOfClasses(this.model, layer) && layer.width === shown.grid.columns) shown.grid.element.after(namesOf(this.model, shown.grid));
    return shown.place;
  }

  /** @param {Layer} layer @param {number} columns @param {number} [side] @returns {Shown} */
  #show(layer, columns, side) {
    const largest = side ? Math.floor(side / columns) : undefined;
    const grid = new Grid(layer.width, columns, `Units of ${layer.name}`, signedColour, largest);
    const second = new Grid(layer.width, columns, "", signedColour, largest);
    const secondPlace = make("div", { className: "second", hidden: true }, make("p", { className: "quiet" }, "the first image"), second.element);
    const shown = { layer, grid, second, secondPlace, most: make("span"), place: byId("pixels") };
    for (const name of ["point", "choose", "away"])
      grid.addEventListener(name, (event) =>
        this.dispatchEvent(new CustomEvent(name, { detail: { layer, unit: /** @type {CustomEvent} */ (event).detail } })),
      );
    this.#shown.push(shown);
    return shown;
  }

  #fit() {
    for (const { grid, second, place } of this.#shown) {
      for (const one of [grid, second]) one.fit(place.clientWidth);
    }
  }

  /** Shows what every layer calculated, and what it did for a second image. @param {Answer} answer @param {Answer | null} first */
  update(answer, first) {
    for (const { layer, grid, second, secondPlace, most } of this.#shown) {
      const values = answer.activations.get(layer.name);
      const others = first?.activations.get(layer.name);
      if (!values) continue;
      const strong = Math.max(strongest(values), others ? strongest(others) : 0);
      secondPlace.hidden = !others;
      if (others) second.show(others, layer.kind === "input" ? 1 : strong);
      if (layer.kind !== "input") {
        grid.show(values, strong);
        most.textContent = `strongest ${short(strong)}`;
      } else {
        this.#ink = values;
        if (!this.#explained) grid.show(values, 1);
      }
    }
  }

  #explained = false;
  /** @type {Float32Array | null} */ #ink = null;

  /** Shows each pixel's share in place of its ink; null: its ink again. @param {Explanation | null} explanation */
  explain(explanation) {
    const { grid } = this.#pixels;
    this.#explained = !!explanation;
    grid.colour = explanation ? signedColour : inkColour;
    if (explanation) grid.show(explanation.contributions, strongest(explanation.contributions));
    else if (this.#ink) grid.show(this.#ink, 1);
  }

  /** @param {Changes} changes */
  mark(changes) {
    for (const { layer, grid } of this.#shown) grid.mark(changes.of(layer));
  }

  /** Scrolls a unit's layer to the top. @param {Unit} unit */
  reveal(unit) {
    for (const { layer, grid } of this.#shown) if (layer === unit.layer) grid.element.scrollIntoView({ block: "start" });
  }

  /** Frames a unit in its layer; null: none. @param {Unit | null} unit */
  frame(unit) {
    for (const { layer, grid } of this.#shown) grid.frame(unit?.layer === layer ? unit.unit : -1);
  }
}

/** The names of the classes, each below its square. @param {Model} model @param {Grid} grid */
function namesOf(model, grid) {
  const names = model.classes.map((name) => make("span", { title: name }, name));
  const place = make("div", { className: "names", ariaHidden: "true" }, ...names);
  grid.addEventListener("fit", () => names.forEach((name) => (name.style.width = grid.element.style.getPropertyValue("--cell"))));
  return place;
}
