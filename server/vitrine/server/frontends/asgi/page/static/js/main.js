/** Puts the page together: what is drawn is classified, and every part shows the answer. */

import { CallError, classify, getModel, listModels, prepare } from "./calls.js";
import { Changes } from "./changes.js";
import { byId, make, say } from "./dom.js";
import { Drawing } from "./drawing.js";
import { Inspector } from "./inspector.js";
import { Lane } from "./lane.js";
import { Layers } from "./layers.js";
import { changesOf, holdsLink, readLink, textOfChanges, writeLink } from "./link.js";
import { close, notify, settle } from "./notice.js";
import { Pad } from "./pad.js";
import { imageOfPixels, listenForPictures, offerCamera, readPicture } from "./pictures.js";
import { samplesFor, strokesOf } from "./samples.js";
import { showSteps } from "./steps.js";
import { askForToken } from "./token.js";
import { Verdict } from "./verdict.js";
import { Why } from "./why.js";

/** @import {Model, Result, Source, Unit} from "./types.js" */

const FAVOURITE = "8";

class Page {
  #pad = new Pad();
  #changes = new Changes();
  #answers = new Lane();
  #preparations = new Lane();
  /** @type {Source | null} */ #source = null;
  /** @type {Source | null} */ #answered = null;
  /** @type {Result | null} */ #result = null;
  /** @type {Result | null} */ #first = null;
  /** @type {Unit | null} */ #chosen = null;
  /** @type {Unit | null} */ #shown = null;
  #pin = byId("pin");
  /** The frame that classifies the drawing; 0: none. */ #frame = 0;
  /** Counts what was drawn and given: an image takes some time to be read. */ #turn = 0;
  /** @type {HTMLElement | null} */ #cameFrom = null;

  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    this.verdict = new Verdict(model);
    this.layers = new Layers(model);
    this.why = new Why(model, (explanation) => this.layers.explain(explanation), fail);
    this.inspector = new Inspector(model, this.#changes);
    this.#describe();
    this.#listenToHands();
    this.#listenToUnits();
  }

  /** Says what the model is. */
  #describe() {
    const { label, classes, layers } = this.model;
    const units = layers.filter((layer) => layer.kind === "linear").reduce((sum, layer) => sum + layer.width, 0);
    const samples = samplesFor(classes);
    const first = samples.length ? "Draw a digit" : "Draw, or give an image";
    byId("about").textContent = `${first}: the network “${label}” says what it is, and shows what each of its ${units.toLocaleString("en")} units calculates.`;
    byId("hint").textContent = `Draw one of these: ${classes.slice(0, 12).join(", ")}`;
    byId("samples").hidden = samples.length === 0;
    byId("sample-list").replaceChildren(
      ...samples.map((name) => {
        const button = make("button", { type: "button", ariaLabel: `Take a drawn ${name}` }, name);
        button.addEventListener("click", () => this.#play(name));
        return button;
      }),
    );
  }

  /** Begins with what the link holds, or with a drawing of its own. @param {ReturnType<typeof readLink>} link */
  begin(link) {
    const { changes, faults } = changesOf(this.model, link.changes);
    for (const [unit, change] of changes) this.#changes.set(unit, change);
    if (faults.length) notify(`The link has changes that can't be made here, and are left out: ${faults.join(", ").slice(0, 80)}`, { lasts: true });
    const samples = samplesFor(this.model.classes);
    const [height, width] = this.model.shape;
    if (link.drawing) this.#pad.play(link.drawing);
    else if (link.pixels?.length === height * width) this.#takePixels(link.pixels);
    else if (samples.length) {
      this.#play(samples.includes(FAVOURITE) ? FAVOURITE : samples[0]);
      byId("hint").textContent = "Now you: draw over it";
      byId("hint").classList.add("low");
    }
  }

  /** @param {string} name */
  #play(name) {
    this.#pad.fresh = true;
    this.#pad.play(new Drawing(strokesOf(name)));
  }

  #listenToHands() {
    const pad = this.#pad;
    for (const change of ["draw", "rest"]) pad.addEventListener(change, () => this.#turn++);
    pad.addEventListener("draw", () => this.#onDraw());
    pad.addEventListener("rest", () => this.#onRest());
    for (const begin of ["pointerdown", "keydown"]) byId("pad").addEventListener(begin, () => (byId("hint").textContent = ""));
    byId("clear").addEventListener("click", () => pad.clear());
    byId("undo").addEventListener("click", () => pad.undo());
    listenForPictures((blob) => this.#takePicture(blob));
    offerCamera((blob) => this.#takePicture(blob), fail);
    this.#pin.addEventListener("click", () => this.#togglePin());
    byId("copy").addEventListener("click", () => this.#copy());
    this.#changes.addEventListener("change", () => this.#onChange());
  }

  #listenToUnits() {
    this.layers.addEventListener("point", (event) => this.#look(/** @type {CustomEvent} */ (event).detail, false));
    this.layers.addEventListener("away", () => this.#look(this.#chosen, true));
    document.addEventListener("focusin", ({ target }) => {
      const inside = /** @type {Element} */ (target).closest(".grid, #unit");
      if (!inside && this.#shown !== this.#chosen) this.#look(this.#chosen, true);
    });
    this.inspector.addEventListener("silence", (event) => {
      for (const unit of /** @type {CustomEvent} */ (event).detail) this.#changes.set(unit, { scale: 0 });
    });
    for (const place of [this.layers, this.inspector])
      place.addEventListener("choose", (event) => this.#choose(/** @type {CustomEvent} */ (event).detail));
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.#chosen && this.#choose(null));
  }

  /** Looks at a unit until another one is chosen. The focus of the keyboard goes with it, and back at the end. @param {Unit | null} unit */
  #choose(unit) {
    const by = document.activeElement;
    const byKeyboard = by instanceof HTMLElement && by.matches(":focus-visible");
    if (by instanceof HTMLCanvasElement && unit) this.#cameFrom = by;
    this.#chosen = unit;
    this.#look(unit, true);
    if (unit && matchMedia("(max-width: 1000px)").matches) this.layers.reveal(unit); // above the sheet
    if (unit && byKeyboard) byId("unit").focus();
    else if (!unit && byKeyboard) this.#cameFrom?.focus();
  }

  /** @param {Unit | null} unit @param {boolean} chosen */
  #look(unit, chosen) {
    this.#shown = unit;
    this.layers.frame(unit);
    this.inspector.show(unit, chosen);
  }

  /** Classifies the drawing with the next picture of the screen, and not more often. */
  #onDraw() {
    this.#frame ||= requestAnimationFrame(() => this.#classify(() => this.#drawn()));
  }

  #onRest() {
    if (this.#pad.drawing.empty) this.#forget();
    else this.#classify(() => this.#drawn(), true);
  }

  /** @returns {Source | null} */
  #drawn() {
    return this.#pad.drawing.empty ? null : { file: this.#pad.file };
  }

  #onChange() {
    this.#changes.list(this.model);
    this.layers.mark(this.#changes);
    this.#classify(() => this.#source, true);
  }

  /** The pad is empty. */
  #forget() {
    this.#source = null;
    byId("hint").textContent = "";
    settle();
    this.#blank("nothing is drawn yet");
  }

  /** There is no answer: that of another image would be taken for one. @param {string} why */
  #blank(why) {
    this.#result = null;
    this.verdict.empty(why);
    const blank = new Map(this.model.layers.map((layer) => [layer.name, new Float32Array(layer.width)]));
    const nothing = { top: 0, probabilities: new Float32Array(this.model.classes.length), activations: blank, doubtful: false };
    this.why.follow(null, 0);
    this.layers.update(nothing, this.#first?.now ?? null);
    this.inspector.update(nothing);
    showSteps([]);
    this.#keepLink();
  }

  /** Shows and classifies an image, unless something else was drawn or given while it was read: the later wins. @param {Blob} blob */
  async #takePicture(blob) {
    const turn = ++this.#turn;
    try {
      const { file, image, width, height } = await readPicture(blob);
      if (turn !== this.#turn) return;
      byId("hint").textContent = image ? "" : "an image that this browser can't show";
      this.#pad.show(image, width, height);
      this.#classify(() => ({ file }), true);
    } catch (error) {
      if (turn === this.#turn) fail(/** @type {Error} */ (error));
    }
  }

  /** @param {Uint8Array} pixels */
  #takePixels(pixels) {
    const [height, width] = this.model.shape;
    byId("hint").textContent = "";
    this.#pad.show(imageOfPixels(pixels, [height, width]), width, height);
    this.#classify(() => ({ pixels }), true);
  }

  /** Classifies what `source` gives when it is its turn. @param {() => Source | null} source @param {boolean} atRest all else follows, too */
  #classify(source, atRest = false) {
    cancelAnimationFrame(this.#frame); // or it would take this one's place in the lane
    this.#frame = 0;
    return this.#answers.run(async () => {
      const given = source();
      if (!given) return;
      this.#source = given;
      try {
        const result = await classify(this.model, given, this.#changes);
        if (this.#source !== given) return; // it was cleared meanwhile
        this.#result = result;
        this.#answered = given;
        settle();
        this.#show();
        if (atRest) this.#follow();
        document.dispatchEvent(new CustomEvent("updated", { detail: { atRest } })); // for who measures it
      } catch (error) {
        fail(/** @type {Error} */ (error));
        const refused = error instanceof CallError && error.code === "invalid_argument";
        if (refused && this.#source === given && this.#answered !== given) this.#blank("there is no answer for this image");
      }
    });
  }

  #show() {
    const result = this.#result;
    if (!result) return;
    const first = this.#first?.now ?? null;
    const other = result.changed ? result.untouched : first;
    this.verdict.show(result.now, other, result.changed ? "without your changes" : "the first image");
    this.layers.update(result.now, first);
    this.inspector.update(result.now, result.changed ? result.untouched : null);
    this.why.follow(this.#source, result.now.top);
  }

  /** What need not be live: the address and the steps. */
  #follow() {
    this.#keepLink();
    const [source, turn] = [this.#source, this.#turn];
    this.#preparations.run(async () => {
      try {
        const steps = source && "file" in source ? await prepare(this.model, source.file) : [];
        if (turn === this.#turn) showSteps(steps);
      } catch (error) {
        if (turn === this.#turn) fail(/** @type {Error} */ (error));
      }
    });
  }

  #togglePin() {
    this.#first = this.#first ? null : this.#result;
    const on = !!this.#first;
    this.#pin.ariaPressed = String(on);
    this.#pin.textContent = on ? "Stop comparing" : "Compare with a second image";
    if (on) say("The image is kept. Draw another one beside it.");
    this.#pad.fresh = on;
    this.#show();
  }

  #keepLink() {
    const input = this.#result?.untouched.activations.get(this.model.layers[0].name);
    const pixels = this.#source && input ? Uint8Array.from(input, (value) => Math.round(255 * value)) : undefined;
    const { drawing } = this.#pad;
    writeLink({ drawing, pixels, model: readLink().model, changes: textOfChanges(this.#changes) });
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(location.href);
      say("The link is copied.");
      byId("copy").textContent = "Copied";
      setTimeout(() => (byId("copy").textContent = "Copy link"), 1500);
    } catch {
      fail(new Error("The link can't be copied here: take it from the address bar."));
    }
  }
}

/** Shows what went wrong; asks for a token where one is wanted. @param {Error} error */
function fail(error) {
  if (error instanceof CallError && error.code === "unauthenticated") {
    askForToken(error.message, () => location.reload());
    return;
  }
  notify(error.message);
}

/** Lets the visitor choose, where there are several models. @param {string[]} names @param {string} chosen */
function offerModels(names, chosen) {
  const select = byId("model", HTMLSelectElement);
  select.replaceChildren(...names.map((name) => make("option", { value: name, selected: name === chosen }, name)));
  byId("models").hidden = names.length < 2;
  select.addEventListener("change", () => {
    writeLink({ ...readLink(), pixels: undefined, changes: "", model: select.value });
    location.reload();
  });
}

async function open() {
  byId("notice-close").addEventListener("click", close);
  addEventListener("hashchange", () => holdsLink() && location.reload()); // a link was opened in this tab
  const link = readLink();
  try {
    const names = await listModels();
    const name = names.includes(link.model) ? link.model : names[0];
    offerModels(names, name);
    new Page(await getModel(name)).begin(link);
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    fail(/** @type {Error} */ (error));
  }
}

open();
