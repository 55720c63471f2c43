/** Asks for the token, where the server has tokens. */

import { keepToken } from "./calls.js";
import { byId } from "./dom.js";

/** @param {string} why what the server said @param {() => void} then */
export function askForToken(why, then) {
  const dialog = byId("token", HTMLDialogElement);
  if (dialog.open) return;
  const field = byId("token-value", HTMLInputElement);
  byId("token-fault").textContent = why;
  field.value = ""; // else leaving by Escape would try the refused one again
  dialog.addEventListener(
    "close",
    () => {
      if (!field.value) return;
      keepToken(field.value.trim());
      then();
    },
    { once: true },
  );
  dialog.showModal();
}
