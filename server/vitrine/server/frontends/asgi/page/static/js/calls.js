/** Calls of the server, by Connect: JSON over HTTP. It knows the messages, and nothing of the page. */

import { floatsOf, fromBase64, toBase64 } from "./bytes.js";

/** @import {Answer, Change, Explanation, Model, Parameters, Result, Source, Step, Unit} from "./types.js" */
/** @typedef {Record<string, any>} Message */

const SERVICE = "vitrine.v1.ClassifierService";
const TOKEN = "vitrine-token";
/** Bytes of parameters that are asked for at a time: Base64 makes a third more. */
const PART_BYTES = 4 << 20;

/** A call that the server refused, or that didn't reach it. */
export class CallError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** Keeps the token for this tab, without what copying adds to it, such as quotes: no header can hold that. @param {string} token */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token.replace(/[^!-~]/g, ""));
}

function keptToken() {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null; // the browser keeps nothing for pages; most servers have no tokens
  }
}

/** @param {string} method @param {Message} request @returns {Promise<Message>} */
async function call(method, request) {
  const token = keptToken();
  /** @type {Record<string, string>} */
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(`${SERVICE}/${method}`, { method: "POST", headers, body: JSON.stringify(request) });
  } catch {
    throw new CallError("unreachable", "The server doesn't answer. Is it still running?");
  }
  const answer = await response.json().catch(() => ({ code: "unknown", message: `The server answered ${response.status}.` }));
  if (!response.ok) throw new CallError(answer.code, answer.message);
  return answer;
}

/** The names of the models that answer, the default first. */
export async function listModels() {
  const { models = [] } = await call("ListModels", {});
  const served = models.filter((/** @type {Message} */ one) => one.state === "MODEL_STATE_AVAILABLE");
  served.sort((/** @type {Message} */ a, /** @type {Message} */ b) => Number(!!b.default) - Number(!!a.default));
  return /** @type {string[]} */ (served.map((/** @type {Message} */ one) => `${one.identity.name}@${one.identity.version}`));
}

/** @param {string} name @returns {Promise<Model>} */
export async function getModel(name) {
  const { model } = await call("GetModel", { model: name });
  const [height, width] = model.input.shape.map(Number);
  return {
    name,
    label: model.identity.name,
    digest: model.identity.digest,
    partBytes: Math.min(PART_BYTES, Number(model.limits.maxMessageBytes)),
    shape: [height, width],
    classes: model.classes,
    layers: model.layers.map((/** @type {Message} */ layer) => ({
      name: layer.name,
      kind: layer.kind.replace("LAYER_KIND_", "").toLowerCase(),
      width: layer.width,
      reads: layer.reads ?? "",
      shape: layer.shape.map(Number),
    })),
  };
}

/** @param {Message} message @returns {Answer} */
function answerOf(message) {
  return {
    top: message.digits?.[0] ?? 0,
    probabilities: floatsOf(message.probabilities.data),
    activations: new Map(message.activations.map((/** @type {Message} */ one) => [one.name, floatsOf(one.data)])),
    doubtful: message.areDigits?.[0] === false,
  };
}

/** The images of a request. @param {Model} model @param {Source} source @returns {Message} */
function imagesOf(model, source) {
  if ("file" in source) return { encoded: { files: [source.file] } };
  return { pixels: { shape: [1, ...model.shape], dtype: "DATA_TYPE_UINT8", data: toBase64(source.pixels) } };
}

/** @param {Iterable<[Unit, Change]>} changes */
function interventionsOf(changes) {
  const interventions = [...changes].map(([{ layer, unit }, change]) => ({ layer: layer.name, units: [unit], ...change }));
  return interventions.length ? [{ interventions }] : [];
}

/**
 * Classifies one image; gives every layer's activations.
 * @param {Model} model @param {Source} source @param {Iterable<[Unit, Change]>} changes @returns {Promise<Result>}
 */
export async function classify(model, source, changes) {
  const interventions = interventionsOf(changes);
  const answer = await call("Classify", {
    model: model.name,
    ...imagesOf(model, source),
    activations: { all: true },
    interventions,
  });
  const now = answerOf(answer);
  const changed = interventions.length > 0;
  return { now, untouched: changed && answer.baseline ? answerOf(answer.baseline) : now, changed };
}

/** Each pixel's share of a class's score. @param {Model} model @param {Source} source @param {number} classIndex */
export async function explain(model, source, classIndex) {
  const answer = await call("Explain", { model: model.name, ...imagesOf(model, source), classes: [classIndex] });
  /** @type {Explanation} */
  const explanation = {
    classIndex,
    score: answer.scores[0],
    contributions: floatsOf(answer.contributions.data),
    bias: answer.biases[0],
  };
  return explanation;
}

/** The steps of preparing a file. @param {Model} model @param {string} file @returns {Promise<Step[]>} */
export async function prepare(model, file) {
  const { steps } = await call("Prepare", { model: model.name, file });
  return steps.map((/** @type {Message} */ step) => {
    const [height, width] = step.picture.shape.map(Number);
    return { name: step.name, text: step.description, picture: fromBase64(step.picture.data), height, width };
  });
}

/** The rows of a layer's parameters from one on, as many as come at a time: all of them can be more than a page can hold. @param {Model} model @param {string} layer @param {number} firstRow @returns {Promise<Parameters>} */
export async function getParameters(model, layer, firstRow) {
  const { weight, bias, model: { digest } } = await call("GetParameters", { model: model.name, layer, firstRow, maxBytes: model.partBytes });
  if (digest !== model.digest) throw new Error("the model was replaced: reload the page");
  return { firstRow, weight: floatsOf(weight.data), bias: floatsOf(bias.data), width: Number(weight.shape[1]) };
}
