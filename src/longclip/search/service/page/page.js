// @ts-check
"use strict";

// ---- Keys ----------------------------------------------------------------------------------------

/** @param {KeyboardEvent} event */
function onKey(event) {
  const target = event.target instanceof HTMLElement ? event.target : document.body;
  const isTyping = target.matches("input, textarea");
  const isOnHit = target.matches(".hit");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !detail.open) {
    event.preventDefault();
    form.requestSubmit();
  } else if (event.ctrlKey || event.metaKey || event.altKey) {
    return;
  } else if (detail.open) {
    if (event.key === "ArrowLeft") turn(-1);
    if (event.key === "ArrowRight") turn(1);
  } else if (event.key === "/" && !isTyping) {
    event.preventDefault();
    textBox.focus();
  } else if (event.key === "Escape" && isTyping) {
    target.blur();
  } else if (KEYS_THAT_MOVE.has(event.key) && (isOnHit || target === document.body)) {
    if (!found?.hits.length) return;
    event.preventDefault();
    focusHit(isOnHit ? neighbour(event.key) : focusedIndex);
  }
}

// ---- Form ----------------------------------------------------------------------------------------

form.addEventListener("submit", (event) => {
  event.preventDefault();
  startSearch(queryInForm());
});
textBox.addEventListener("input", () => {
  paintMarks();
  countTokensSoon();
  showShare();
  clearButton.hidden = !textBox.value && !isAsked(query);
});
clearButton.addEventListener("click", () => {
  startSearch(EMPTY_QUERY);
  textBox.focus();
});
pictureRemove.addEventListener("click", () =>
  startSearch({ ...queryInForm(), image: "", imageName: "", like: "" }),
);
fileField.addEventListener("change", () => {
  const file = pictureAmong(fileField.files);
  fileField.value = ""; // the same picture may be chosen again
  if (file) searchWithPicture(file);
});
filterPanel.addEventListener("input", showFilterCount);
shareSlider.addEventListener("input", showShare);
shareSlider.addEventListener(
  "change",
  debounce(SLIDING_PAUSE_MS, () => startSearch(queryInForm())),
);

// ---- Results and detail --------------------------------------------------------------------------

/** Return the index of the hit in which something happens, or -1. @param {Event} event */
function hitIndexOf(event) {
  const tile = event.target instanceof Element && event.target.closest(".hit");
  return tile instanceof HTMLElement ? Number(tile.dataset.index) : -1;
}

grid.addEventListener("click", (event) => openDetail(hitIndexOf(event)));
for (const name of ["pointerover", "focusin"]) {
  grid.addEventListener(name, (event) => {
    const hit = hitAt(hitIndexOf(event));
    if (hit) pointAt(hit);
  });
}
for (const name of ["pointerleave", "focusout"]) {
  grid.addEventListener(name, () => pointAt(null));
}
grid.addEventListener("focusin", (event) => {
  const index = hitIndexOf(event);
  if (index >= 0) setFocusable(index);
});
moreButton.addEventListener("click", showMore);

detailClose.addEventListener("click", () => detail.close());
detailBack.addEventListener("click", () => turn(-1));
detailOn.addEventListener("click", () => turn(1));
detailLike.addEventListener("click", searchForMoreLikeThis);
detailCopy.addEventListener("click", copyPath);
detail.addEventListener("close", onDetailClosed);
detail.addEventListener("click", (event) => {
  if (event.target === detail) detail.close(); // beside the dialog, on its backdrop
});

// ---- Pictures that are dropped or pasted anywhere; nothing dropped leads away from the page ------

/** @param {DragEvent} event */
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  dropTarget.hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) dropTarget.hidden = true; // left the window, not only an element
});
addEventListener("drop", (event) => {
  dropTarget.hidden = true;
  if (!hasFiles(event)) return;
  event.preventDefault();
  const file = pictureAmong(event.dataTransfer?.files);
  if (file) searchWithPicture(file);
  else showHint("That is no picture. JPEG, PNG and WebP can be dropped here.");
});
addEventListener("paste", (event) => {
  const file = pictureAmong(event.clipboardData?.files);
  if (!file) return;
  event.preventDefault();
  searchWithPicture(file);
});

// ---- Start ---------------------------------------------------------------------------------------

for (const [verdict, [, meaning]] of Object.entries(VERDICTS)) {
  legend.append(make("span", {}, verdictMark(/** @type {Verdict} */ (verdict)), meaning));
}
addEventListener("keydown", onKey);
addEventListener("popstate", followAddress);
askAboutServer();
// The address may hold the server's token; it has become a cookie and need not stay to be seen.
const cleanAddress = addressOf(queryInAddress(), openInAddress()) + location.hash;
history.replaceState(history.state, "", cleanAddress);
followAddress();
if (layout.dataset.view === "start" && !isStacked()) textBox.focus();
