/** A picture of many numbers: one square for each, which can be pointed at, tapped, and reached by keyboard. */

import { signedColour } from "./colours.js";
import { make } from "./dom.js";

const LARGEST_CELL = 28;
const LARGEST_OF_MANY = 15;
const MANY = 64;

/** Columns of a picture of `count` units: a wide one whose last row is full, where that can be. @param {number} count */
export function columnsFor(count) {
  if (count <= 12) return count;
  const ideal = Math.sqrt(1.6 * count);
  for (let away = 0; away < ideal / 4; away++) {
    for (const columns of [Math.round(ideal) + away, Math.round(ideal) - away]) if (count % columns === 0) return columns;
  }
  return Math.ceil(ideal);
}

/** @typedef {(value: number, most: number) => number} Colour */

/**
 * Events: `point` and `choose` with the unit as `detail`, `away`; `fit` with a new size.
 */
export class Grid extends EventTarget {
  /** @type {ArrayLike<number>} */ #values = [];
  /** @type {HTMLElement[]} */ #changed = [];
  #most = 1;
  #here = make("div", { className: "mark here", hidden: true });
  #cell = 1;
  #pointed = -1;

  /**
   * @param {number} count
   * @param {number} columns
   * @param {string} label what it shows, for screen readers; empty for a picture that can't be used
   * @param {Colour} colour
   * @param {number} largest the largest side of a square, in CSS pixels
   */
  constructor(count, columns, label, colour = signedColour, largest = count > MANY ? LARGEST_OF_MANY : LARGEST_CELL) {
    super();
    this.count = count;
    this.columns = columns;
    this.rows = Math.ceil(count / columns);
    this.colour = colour;
    this.largest = largest;
    this.cursor = 0;
    this.canvas = make("canvas", { width: columns, height: this.rows });
    this.element = make("div", { className: "grid" }, this.canvas, this.#here);
    this.#image = new ImageData(columns, this.rows);
    this.#pixels = new Uint32Array(this.#image.data.buffer);
    this.canvas.setAttribute("role", label ? "application" : "img");
    this.canvas.setAttribute("aria-label", label || "picture");
    if (label) this.#listen();
  }

  #image;
  #pixels;

  #listen() {
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("aria-roledescription", "grid of units");
    this.canvas.addEventListener("pointermove", (event) => this.#onPoint(this.#unitAt(event)));
    this.canvas.addEventListener("pointerleave", () => this.#send("away", (this.#pointed = -1)));
    this.canvas.addEventListener("click", (event) => this.#send("choose", (this.cursor = this.#unitAt(event))));
    this.canvas.addEventListener("focus", () => this.canvas.matches(":focus-visible") && this.#send("point", this.cursor));
    this.canvas.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** A way within one unit tells nothing new, and leaves the hands on a chosen unit where they are. @param {number} unit */
  #onPoint(unit) {
    if (unit !== this.#pointed) this.#send("point", unit);
    this.#pointed = unit;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    /** @type {Record<string, number>} */
    const ways = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns };
    if (event.key in ways) {
      const next = this.cursor + ways[event.key];
      if (next >= 0 && next < this.count) this.cursor = next;
    } else if (event.key === "Home") this.cursor = 0;
    else if (event.key === "End") this.cursor = this.count - 1;
    else if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    this.#send(event.key === "Enter" || event.key === " " ? "choose" : "point", this.cursor);
  }

  /** @param {MouseEvent} event */
  #unitAt(event) {
    const column = Math.floor(event.offsetX / this.#cell);
    const row = Math.floor(event.offsetY / this.#cell);
    const unit = Math.max(0, Math.min(row, this.rows - 1)) * this.columns + Math.max(0, Math.min(column, this.columns - 1));
    return Math.min(unit, this.count - 1);
  }

  /** @param {string} name @param {number} unit */
  #send(name, unit) {
    this.dispatchEvent(new CustomEvent(name, { detail: unit }));
  }

  /** Makes it as large as fits, of whole pixels for each square. @param {number} width CSS pixels */
  fit(width) {
    this.#cell = Math.max(1, Math.min(this.largest, Math.floor(width / this.columns)));
    this.canvas.style.width = `${this.#cell * this.columns}px`;
    this.canvas.style.height = `${this.#cell * this.rows}px`;
    this.element.style.setProperty("--cell", `${this.#cell}px`);
    this.element.style.setProperty("--gap", this.#cell >= 5 ? "1" : "0");
    for (const mark of [this.#here, ...this.#changed]) this.#put(mark, Number(mark.dataset.unit ?? 0));
    this.dispatchEvent(new Event("fit"));
  }

  /** Shows numbers; `most` has the strongest colour. @param {ArrayLike<number>} values @param {number} most */
  show(values, most) {
    this.#values = values;
    this.#most = most;
    this.paint();
  }

  /** Paints what it shows, as after a change of the colours. */
  paint() {
    for (let at = 0; at < this.#values.length; at++) this.#pixels[at] = this.colour(this.#values[at], this.#most);
    this.canvas.getContext("2d")?.putImageData(this.#image, 0, 0);
  }

  /** Frames a unit; −1: none. @param {number} unit */
  frame(unit) {
    this.#here.hidden = unit < 0;
    if (unit >= 0) this.#put(this.#here, unit);
  }

  /** Marks the units that are changed. @param {number[]} units */
  mark(units) {
    for (const mark of this.#changed) mark.remove();
    this.#changed = units.map((unit) => {
      const mark = make("div", { className: "mark changed" });
      this.#put(mark, unit);
      return mark;
    });
    this.element.append(...this.#changed);
  }

  /** @param {HTMLElement} mark @param {number} unit */
  #put(mark, unit) {
    mark.dataset.unit = String(unit);
    mark.style.left = `${(unit % this.columns) * this.#cell}px`;
    mark.style.top = `${Math.floor(unit / this.columns) * this.#cell}px`;
  }
}

/** The largest size of some numbers. @param {ArrayLike<number>} values */
export function strongest(values) {
  let most = 0;
  for (let at = 0; at < values.length; at++) most = Math.max(most, Math.abs(values[at]));
  return most;
}
