/** The hands on a unit: silence it, scale it, set it. */

import { make } from "./dom.js";
import { LARGEST } from "./link.js";

/** @import {Unit} from "./types.js" */
/** @import {Changes} from "./changes.js" */

/** @param {Unit} unit @param {Changes} changes @param {() => number} valueNow */
export function controlsFor(unit, changes, valueNow) {
  const silence = make("button", { type: "button" }, "Silence");
  const undo = make("button", { type: "button" }, "Undo");
  const scale = make("input", { type: "range", min: "0", max: "3", step: "0.1" });
  const factor = make("output");
  const value = make("input", { type: "number", step: "any", min: String(-LARGEST), max: String(LARGEST) });
  silence.addEventListener("click", () => changes.set(unit, silence.ariaPressed === "true" ? undefined : { scale: 0 }));
  undo.addEventListener("click", () => changes.set(unit, undefined));
  scale.addEventListener("input", () => changes.set(unit, { scale: scale.valueAsNumber }));
  value.addEventListener("change", () => value.validity.valid && value.value && changes.set(unit, { value: value.valueAsNumber }));
  const place = make(
    "div",
    { className: "act" },
    make("h3", {}, "Change it"),
    make("div", { className: "tools" }, silence, undo),
    make("label", {}, "Scale", scale, factor),
    make("label", {}, "Set to", value),
  );

  function refresh() {
    const change = changes.get(unit);
    const times = change && "scale" in change ? change.scale : 1;
    silence.ariaPressed = String(times === 0);
    undo.disabled = !change;
    scale.value = String(times);
    factor.textContent = `× ${times}`;
    if (document.activeElement !== value) value.value = change && "value" in change ? String(change.value) : "";
    value.placeholder = valueNow().toFixed(2);
  }
  refresh();
  const gone = new AbortController();
  changes.addEventListener("change", () => (place.isConnected ? refresh() : gone.abort()), { signal: gone.signal });
  return place;
}
