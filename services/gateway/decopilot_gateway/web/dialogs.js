/** Dialogs of the page: each is a `<dialog>` with a form; Escape and its cancel button close it unanswered. */

/** Open a dialog; resolves to whether it was confirmed. Focus returns to where it was by itself. */
export function confirmed(dialog) {
  const form = dialog.querySelector("form");
  dialog.returnValue = "";
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      dialog.close("yes");
    };
    form.querySelector("[data-cancel]").onclick = () => dialog.close("");
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.showModal();
  });
}

/** Tell whether a dialog is open. */
export const isDialogOpen = () => document.querySelector("dialog[open]") !== null;
