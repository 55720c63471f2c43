/** Asks for the token, where the server has tokens. */

import { keepToken } from "./calls.js";
import { byId } from "./dom.js";
import { notify } from "./notice.js";

/** @param {string} why what the server said @param {() => void} then called with a new token */
export function askForToken(why, then) {
  const dialog = byId("token", HTMLDialogElement);
  if (dialog.open) return;
  const field = byId("token-value", HTMLInputElement);
  byId("token-fault").textContent = why;
  field.value = ""; // else leaving by Escape would try the refused one again
  dialog.addEventListener(
    "close",
    () => {
      const token = field.value.trim();
      if (!token) {
        notify("This server answers callers that have a token only.", { way: { name: "Enter a token", take: () => askForToken("", then) } });
        return;
      }
      keepToken(token);
      then();
    },
    { once: true },
  );
  dialog.showModal();
}
