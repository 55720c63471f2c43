/** What the network says: the class, its share, and a bar for each class. */

import { byId, make, percent } from "./dom.js";

/** @import {Answer, Model} from "./types.js" */

const MOST_CLASSES = 24;

export class Verdict {
  /** @type {{row: HTMLElement, bar: HTMLElement, thin: HTMLElement, share: HTMLElement}[]} */ #rows;
  #model;

  /** @param {Model} model */
  constructor(model) {
    this.#model = model;
    this.#rows = model.classes.slice(0, MOST_CLASSES).map((name) => {
      const [bar, thin, share] = [make("i"), make("b"), make("span", { className: "share" }, "–")];
      const row = make("li", {}, make("span", { className: "name", title: name, dir: "auto" }, name), make("div", { className: "bar" }, bar, thin), share);
      return { row, bar, thin, share };
    });
    byId("classes").replaceChildren(...this.#rows.map(({ row }) => row));
    this.empty("nothing is drawn yet");
  }

  /** There is no answer. @param {string} why */
  empty(why) {
    byId("verdict-class").textContent = "–";
    byId("badge").textContent = "";
    byId("verdict-sure").textContent = why;
    byId("doubt").hidden = byId("answer-key").hidden = true;
    for (const { row, bar, thin, share } of this.#rows) {
      row.className = "";
      share.textContent = "–";
      bar.style.transform = thin.style.transform = "scaleX(0)";
    }
  }

  /** Shows an answer, with another one in thin bars. @param {Answer} now @param {Answer | null} other @param {string} otherName */
  show(now, other, otherName) {
    const { classes } = this.#model;
    write("verdict-class", classes[now.top]);
    write("badge", classes[now.top]);
    const before = other && other.top !== now.top ? `; ${otherName}: ${classes[other.top]}` : "";
    write("verdict-sure", `probability ${percent(now.probabilities[now.top])}${before}`);
    byId("doubt").hidden = !now.doubtful;
    if (now.doubtful) write("doubt", "This looks like none of what the network has learnt: don't trust the answer.");
    byId("answer-key").hidden = !other;
    if (other) write("answer-key", `Thin bars: ${otherName}.`);
    this.#rows.forEach(({ row, bar, thin, share }, index) => {
      row.className = index === now.top ? "top" : "";
      bar.style.transform = `scaleX(${now.probabilities[index]})`;
      thin.style.transform = `scaleX(${other ? other.probabilities[index] : 0})`;
      share.textContent = percent(now.probabilities[index]);
    });
  }
}

/** Writes a text that differs: screen readers are told of each write. @param {string} id @param {string} text */
function write(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}
