/** A drawing: strokes of a pen on paper. It knows how to paint itself, and how to travel in an address. */

import { fromUrlText, toUrlText } from "./bytes.js";

/** The side of the paper, and the width of the pen, in its own units. */
export const SIDE = 280;
const PEN = 22;
const GRAIN = SIDE / 255;
const NEAREST = 3;

/** @typedef {[number, number]} Point x to the right and y down, 0 to SIDE */

export class Drawing {
  /** @param {Point[][]} strokes */
  constructor(strokes = []) {
    this.strokes = strokes;
  }

  get empty() {
    return this.strokes.length === 0;
  }

  /** @param {Point} point */
  begin(point) {
    this.strokes.push([point]);
  }

  /** Draws the stroke further; points that are very near to the last one are left out. @param {Point} point */
  extend(point) {
    const stroke = this.strokes.at(-1);
    const last = stroke?.at(-1);
    if (stroke && last && Math.hypot(point[0] - last[0], point[1] - last[1]) >= NEAREST) stroke.push(point);
  }

  /** @param {CanvasRenderingContext2D} context */
  paint(context) {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, SIDE, SIDE);
    context.strokeStyle = "#000";
    context.lineWidth = PEN;
    context.lineCap = context.lineJoin = "round";
    for (const [first, ...others] of this.strokes) {
      context.beginPath();
      context.moveTo(...first);
      let last = first;
      for (const point of others) {
        context.quadraticCurveTo(last[0], last[1], (last[0] + point[0]) / 2, (last[1] + point[1]) / 2);
        last = point;
      }
      context.lineTo(last[0] + 0.01, last[1]); // a dot is a line, too
      context.stroke();
    }
  }

  /** As a text: each stroke is its number of points in two bytes, and each point two. */
  encode() {
    const bytes = this.strokes.flatMap((stroke) => {
      const points = stroke.flatMap((point) => point.map((value) => Math.max(0, Math.min(255, Math.round(value / GRAIN)))));
      return [stroke.length >> 8, stroke.length & 255, ...points];
    });
    return toUrlText(Uint8Array.from(bytes));
  }

  /** @param {string} text */
  static decode(text) {
    const bytes = fromUrlText(text);
    /** @type {Point[][]} */
    const strokes = [];
    for (let at = 0; at + 2 < bytes.length; ) {
      const end = at + 2 + 2 * ((bytes[at] << 8) | bytes[at + 1]);
      /** @type {Point[]} */
      const stroke = [];
      for (at += 2; at < end && at + 1 < bytes.length; at += 2) stroke.push([bytes[at] * GRAIN, bytes[at + 1] * GRAIN]);
      if (stroke.length) strokes.push(stroke);
    }
    return new Drawing(strokes);
  }
}
