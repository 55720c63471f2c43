/** The pad: draws by mouse, finger, pen and keyboard, and shows a given image. It knows no model. */

import { byId, make, say } from "./dom.js";
import { Drawing, SIDE } from "./drawing.js";

/** @import {Point} from "./drawing.js" */

/** The longest side of an image that the preparation reads without looking for light and paper. */
const SENT_SIDE = 64;
const KEY_STEP = 6;
const KEY_LEAP = 18;
const SHOWING_MS = 900;

/** Events: `draw` while the drawing changes, `rest` when a stroke has ended. */
export class Pad extends EventTarget {
  drawing = new Drawing();
  #canvas = byId("pad", HTMLCanvasElement);
  #context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d", { willReadFrequently: true }));
  #small = make("canvas", { width: SENT_SIDE, height: SENT_SIDE });
  #marker = byId("pen");
  /** @type {Point} */ #pen = [SIDE / 2, SIDE / 4];
  #drawing = false;
  #down = false;
  #shows = false;
  #animation = 0;

  constructor() {
    super();
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => this.#onDown(event));
    canvas.addEventListener("pointermove", (event) => this.#onMove(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => this.#onUp());
    canvas.addEventListener("keydown", (event) => this.#onKey(event));
    canvas.addEventListener("focus", () => (this.#marker.hidden = !canvas.matches(":focus-visible")));
    canvas.addEventListener("blur", () => (this.#marker.hidden = true));
    this.#paint();
    this.#moveMarker();
  }

  /** The drawing as a PNG file, in Base64; small, since the server prepares small images a hundred times as fast. */
  get file() {
    const small = /** @type {CanvasRenderingContext2D} */ (this.#small.getContext("2d", { willReadFrequently: true }));
    small.imageSmoothingQuality = "high";
    small.drawImage(this.#canvas, 0, 0, SENT_SIDE, SENT_SIDE);
    return this.#small.toDataURL("image/png").split(",")[1];
  }

  /** Shows a drawing: stroke by stroke, where people like motion. @param {Drawing} drawing */
  play(drawing) {
    const total = drawing.strokes.reduce((sum, stroke) => sum + stroke.length, 0);
    const begin = performance.now();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = () => {
      const share = still ? 1 : Math.min(1, (performance.now() - begin) / SHOWING_MS);
      let left = Math.ceil(share * total);
      const strokes = [];
      for (const stroke of drawing.strokes) {
        if (left > 0) strokes.push(stroke.slice(0, left));
        left -= stroke.length;
      }
      this.#use(new Drawing(strokes));
      this.#tell("draw");
      if (share < 1) this.#animation = requestAnimationFrame(step);
      else this.#tell("rest");
    };
    this.#stop();
    step();
  }

  /** Shows an image in place of a drawing. @param {CanvasImageSource | null} image @param {number} width @param {number} height */
  show(image, width, height) {
    this.#stop();
    this.drawing = new Drawing();
    this.#shows = true;
    this.#canvas.classList.remove("drawn");
    this.#context.fillStyle = "#fff";
    this.#context.fillRect(0, 0, SIDE, SIDE);
    if (!image) return;
    const scale = Math.min(SIDE / width, SIDE / height);
    this.#context.imageSmoothingEnabled = scale < 4;
    this.#context.drawImage(image, (SIDE - width * scale) / 2, (SIDE - height * scale) / 2, width * scale, height * scale);
  }

  clear() {
    this.#stop();
    this.#use(new Drawing());
    this.#tell("rest");
  }

  undo() {
    this.#stop();
    this.#use(new Drawing(this.drawing.strokes.slice(0, -1)));
    this.#tell("rest");
  }

  /** @param {Drawing} drawing */
  #use(drawing) {
    this.drawing = drawing;
    this.#shows = false;
    this.#paint();
  }

  #paint() {
    this.#canvas.classList.add("drawn");
    this.drawing.paint(this.#context);
  }

  /** @param {string} name */
  #tell(name) {
    this.dispatchEvent(new Event(name));
  }

  #stop() {
    cancelAnimationFrame(this.#animation);
  }

  /** Begins a stroke; what was only shown makes room. @param {Point} point */
  #begin(point) {
    this.#stop();
    if (this.#shows || this.fresh) this.#use(new Drawing());
    this.fresh = false;
    this.drawing.begin(point);
    this.#paint();
    this.#tell("draw");
  }

  /** True for a drawing that isn't the visitor's: it makes room for the first stroke. */
  fresh = false;

  /** @param {PointerEvent} event @returns {Point} */
  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * SIDE) / box.width, ((event.clientY - box.top) * SIDE) / box.height];
  }

  /** @param {PointerEvent} event */
  #onDown(event) {
    if (event.button !== 0 || this.#drawing) return;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#drawing = true;
    this.#begin(this.#point(event));
  }

  /** @param {PointerEvent} event */
  #onMove(event) {
    if (!this.#drawing) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const one of passed.length ? passed : [event]) this.drawing.extend(this.#point(one));
    this.#paint();
    this.#tell("draw");
  }

  #onUp() {
    if (!this.#drawing) return;
    this.#drawing = false;
    this.#tell("rest");
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    /** @type {Record<string, Point>} */
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key];
    if (way) {
      const step = event.shiftKey ? KEY_LEAP : KEY_STEP;
      this.#pen = /** @type {Point} */ (this.#pen.map((value, i) => Math.max(12, Math.min(SIDE - 12, value + step * way[i]))));
      if (this.#down) this.#draw();
    } else if (event.key === " " || event.key === "Enter") {
      this.#down = !this.#down;
      say(this.#down ? "The pen is down." : "The pen is up.");
      if (this.#down) this.#begin(this.#pen);
      else this.#tell("rest");
    } else return;
    event.preventDefault();
    this.#moveMarker();
  }

  #draw() {
    this.drawing.extend(this.#pen);
    this.#paint();
    this.#tell("draw");
  }

  #moveMarker() {
    this.#marker.classList.toggle("down", this.#down);
    this.#marker.style.left = `${(100 * this.#pen[0]) / SIDE}%`;
    this.#marker.style.top = `${(100 * this.#pen[1]) / SIDE}%`;
  }
}
