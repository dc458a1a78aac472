// Runs before anything is painted: the reader's own choice of colours, if there is one.
(() => {
  "use strict";
  let chosen = null;
  try {
    chosen = localStorage.getItem("callout-theme");
  } catch {
    // storage is forbidden: as the system has it
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
