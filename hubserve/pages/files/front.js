// Buttons that copy the commands of the front page. Without scripts the commands are there to be selected.
"use strict";

(() => {
  const copy = async (command) => {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(command.textContent);
      return;
    }
    // browsers have a clipboard for pages over HTTPS and of this machine only
    window.getSelection().selectAllChildren(command);
    document.execCommand("copy");
  };

  const { copy: label, copied } = document.body.dataset;
  for (const place of document.querySelectorAll(".command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", async () => {
      await copy(place.querySelector("code"));
      button.textContent = copied;
      setTimeout(() => { button.textContent = label; }, 2000);
    });
    place.append(button);
  }
})();
