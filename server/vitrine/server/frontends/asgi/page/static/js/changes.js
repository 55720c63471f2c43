/** The visitor's changes of units, and the list of them on the page. */

import { byId, make, short } from "./dom.js";
import { unitName } from "./network.js";

/** @import {Change, Layer, Model, Unit} from "./types.js" */

/** Event: `change`. */
export class Changes extends EventTarget {
  /** @type {Map<string, [Unit, Change]>} */ #all = new Map();

  constructor() {
    super();
    byId("reset").addEventListener("click", () => this.clear());
  }

  [Symbol.iterator]() {
    return this.#all.values();
  }

  get empty() {
    return this.#all.size === 0;
  }

  /** @param {Unit} unit @returns {Change | undefined} */
  get(unit) {
    return this.#all.get(key(unit))?.[1];
  }

  /** Changes a unit; undefined: no more. @param {Unit} unit @param {Change | undefined} change */
  set(unit, change) {
    if (change) this.#all.set(key(unit), [unit, change]);
    else this.#all.delete(key(unit));
    this.dispatchEvent(new Event("change"));
  }

  clear() {
    this.#all.clear();
    this.dispatchEvent(new Event("change"));
  }

  /** The units of a layer that are changed. @param {Layer} layer */
  of(layer) {
    return [...this].filter(([unit]) => unit.layer === layer).map(([unit]) => unit.unit);
  }

  /** Lists them; a click takes one back. @param {Model} model */
  list(model) {
    const entries = [...this].map(([unit, change]) => {
      const text = `${unitName(model, unit.layer, unit.unit)} ${changeName(change)}`;
      const button = make("button", { type: "button", dir: "auto", ariaLabel: `Undo: ${text}` }, `${text} ✕`);
      button.addEventListener("click", () => this.set(unit, undefined));
      return make("li", {}, button);
    });
    byId("change-list").replaceChildren(...entries);
    byId("changes").hidden = this.empty;
  }
}

/** @param {Unit} unit */
function key({ layer, unit }) {
  return `${layer.name} ${unit}`;
}

/** A change for people. @param {Change} change */
export function changeName(change) {
  if ("value" in change) return `= ${short(change.value)}`;
  return change.scale === 0 ? "silenced" : `× ${short(change.scale)}`;
}
