/** Each pixel's share in a class's score, in place of its ink. */

import { explain } from "./calls.js";
import { byId, make } from "./dom.js";
import { Lane } from "./lane.js";

/** @import {Explanation, Model, Source} from "./types.js" */

const ANSWER = "-1";

export class Why {
  #lane = new Lane();
  #button = byId("why");
  #class = byId("class", HTMLSelectElement);
  /** @type {Source | null} */ #source = null;
  #top = 0;

  /**
   * @param {Model} model
   * @param {(explanation: Explanation | null) => void} show shows the shares; null: the ink again
   * @param {(error: Error) => void} fail
   */
  constructor(model, show, fail) {
    this.model = model;
    this.show = show;
    this.fail = fail;
    const options = model.classes.map((name, index) => make("option", { value: String(index) }, name));
    this.#class.replaceChildren(make("option", { value: ANSWER }, "its answer"), ...options);
    this.#button.addEventListener("click", () => this.#toggle());
    this.#class.addEventListener("change", () => this.#ask());
    this.#describe();
  }

  get #on() {
    return this.#button.ariaPressed === "true";
  }

  /** Follows what is classified. @param {Source | null} source null: nothing @param {number} top its class */
  follow(source, top) {
    this.#source = source;
    this.#top = top;
    if (this.#on) this.#ask();
  }

  #toggle() {
    this.#button.ariaPressed = String(!this.#on);
    byId("why-class").hidden = !this.#on;
    if (this.#on) this.#ask();
    else this.#hide();
  }

  #hide() {
    this.#describe();
    this.show(null);
  }

  #describe() {
    const [height, width] = this.model.shape;
    byId("seen-text").textContent = `${height} × ${width} pixels, whatever the size of your image.`;
  }

  #ask() {
    this.#lane.run(async () => {
      const source = this.#source;
      if (!this.#on || !source) return this.#hide();
      const wanted = this.#class.value === ANSWER ? this.#top : Number(this.#class.value);
      try {
        const explanation = await explain(this.model, source, wanted);
        if (this.#on && this.#source) this.#tell(explanation);
      } catch (error) {
        this.fail(/** @type {Error} */ (error));
      }
    });
  }

  /** @param {Explanation} explanation */
  #tell(explanation) {
    const { classIndex, score, bias } = explanation;
    byId("seen-text").textContent =
      `Orange pixels speak for ${this.model.classes[classIndex]}, blue ones against it. ` +
      `All pixels ${(score - bias).toFixed(2)} + biases ${bias.toFixed(2)} = score ${score.toFixed(2)}, exactly.`;
    this.show(explanation);
  }
}
