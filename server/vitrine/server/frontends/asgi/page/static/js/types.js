/**
 * The plain data of the page; messages of the wire stay in `calls.js`.
 *
 * @typedef {{name: string, kind: string, width: number, reads: string, shape: number[]}} Layer
 * @typedef {{name: string, label: string, layers: Layer[], shape: [number, number], classes: string[], digest: string, partBytes: number}} Model
 * @typedef {Map<string, Float32Array>} Activations
 *
 * The outcome of a run.
 * @typedef {{top: number, probabilities: Float32Array, activations: Activations, doubtful: boolean}} Answer
 *
 * The answer to an image; `untouched` is that without the changes, and the same object where there are none.
 * @typedef {{now: Answer, untouched: Answer, changed: boolean}} Result
 *
 * What is classified: a file in Base64, or prepared pixels.
 * @typedef {{file: string} | {pixels: Uint8Array}} Source
 *
 * A change of one unit: multiplied, or set.
 * @typedef {{scale: number} | {value: number}} Change
 *
 * @typedef {{layer: Layer, unit: number}} Unit
 *
 * Some rows of a layer's parameters, from `firstRow` on: `width` weights and a bias each.
 * @typedef {{firstRow: number, weight: Float32Array, bias: Float32Array, width: number}} Parameters
 *
 * @typedef {{classIndex: number, score: number, contributions: Float32Array, bias: number}} Explanation
 * @typedef {{name: string, text: string, picture: Uint8Array, height: number, width: number}} Step
 */
export {};
