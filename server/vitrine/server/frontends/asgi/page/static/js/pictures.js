/** Images from outside: chosen, dropped, pasted or taken by the camera. It knows no model. */

import { fromBase64, toBase64 } from "./bytes.js";
import { byId } from "./dom.js";

const SENT_AS_THEY_ARE = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff"];
const MOST_BYTES = 5 << 20; // Base64 makes a third more, and a request in JSON has 8 MiB at most
const LONGEST = 2048;

/** @typedef {{file: string, image: CanvasImageSource | null, width: number, height: number}} Picture */

/** Reads an image file; a kind that the server can't read, or a large one, is saved anew. @param {Blob} blob @returns {Promise<Picture>} */
export async function readPicture(blob) {
  const image = await createImageBitmap(blob).catch(() => null);
  const fits = blob.size <= MOST_BYTES && SENT_AS_THEY_ARE.includes(blob.type);
  if (!image) {
    if (!fits) throw new Error("This is no image that can be read. PNG and JPEG files always can.");
    return { file: await base64Of(blob), image: null, width: 0, height: 0 };
  }
  const file = fits ? await base64Of(blob) : saved(image, image.width, image.height);
  return { file, image, width: image.width, height: image.height };
}

/** @param {Blob} blob */
async function base64Of(blob) {
  return toBase64(new Uint8Array(await blob.arrayBuffer()));
}

/** Saves as a JPEG of working size. @param {CanvasImageSource} image @param {number} width @param {number} height */
function saved(image, width, height) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const canvas = Object.assign(document.createElement("canvas"), {
    width: Math.max(1, Math.round(width * scale)),
    height: Math.max(1, Math.round(height * scale)),
  });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.95).split(",")[1];
}

/** Pixels as an image. @param {Uint8Array} pixels 0 = white @param {[number, number]} shape @returns {HTMLCanvasElement} */
export function imageOfPixels(pixels, [height, width]) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const data = new ImageData(width, height);
  const colours = new Uint32Array(data.data.buffer);
  for (let at = 0; at < pixels.length; at++) colours[at] = (255 << 24) | (0x010101 * (255 - pixels[at]));
  canvas.getContext("2d")?.putImageData(data, 0, 0);
  return canvas;
}

/** Listens for images from everywhere. @param {(blob: Blob) => void} take */
export function listenForPictures(take) {
  const chooser = byId("chooser", HTMLInputElement);
  byId("file").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    if (chooser.files?.[0]) take(chooser.files[0]);
    chooser.value = "";
  });
  document.addEventListener("paste", (event) => takeFirst(event.clipboardData, event));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => !event.relatedTarget && document.body.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("over");
    event.preventDefault();
    takeFirst(event.dataTransfer, event);
  });

  /** @param {DataTransfer | null} carried @param {Event} event */
  function takeFirst(carried, event) {
    const file = [...(carried?.files ?? [])][0];
    if (!file) return;
    event.preventDefault();
    take(file);
  }
}

/** Offers the camera where there may be one. @param {(blob: Blob) => void} take @param {(error: Error) => void} fail */
export function offerCamera(take, fail) {
  if (!navigator.mediaDevices?.getUserMedia) return;
  const finder = byId("viewfinder", HTMLDialogElement);
  const video = byId("video", HTMLVideoElement);
  const button = byId("camera");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      finder.showModal();
    } catch {
      fail(new Error("The camera can't be used: there is none, or this page may not have it."));
    }
  });
  byId("leave").addEventListener("click", () => finder.close());
  byId("shoot").addEventListener("click", () => {
    const file = saved(video, video.videoWidth, video.videoHeight);
    finder.close();
    take(new Blob([fromBase64(file)], { type: "image/jpeg" }));
  });
  finder.addEventListener("close", () => {
    const stream = /** @type {MediaStream | null} */ (video.srcObject);
    for (const track of stream?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  });
}
