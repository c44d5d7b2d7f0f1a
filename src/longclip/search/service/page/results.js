// @ts-check
"use strict";

// ---- Searching -----------------------------------------------------------------------------------

/** @type {Query} the query whose answer is shown or awaited */
let query = EMPTY_QUERY;
/** @type {(SearchAnswer & { isComplete: boolean }) | null} the answer; its hits grow with "more" */
let found = null;
/** @type {AbortController | null} */
let searchUnderWay = null;
/** @type {number | undefined} */
let retryTimer;

/** @param {number} index */
const hitAt = (index) => found?.hits[index];

/** @param {Query} asked */
async function search(asked) {
  stopSearching();
  query = asked;
  found = null;
  focusedIndex = 0;
  pointAt(null);
  const title = beginningOf(asked.text.trim(), TITLE_CHARACTERS);
  document.title = title ? `${title} · longclip` : "longclip";
  clearMessage();
  layout.dataset.view = isEmpty(asked) ? "start" : "results";
  grid.ariaLabel = `Images, ${isEmpty(asked) ? "newest" : "best"} first`;
  if (isEmpty(asked) && asked.imageName) {
    for (const element of [legend, noteList, moreButton]) element.hidden = true;
    statusLine.textContent = "";
    grid.replaceChildren();
    showHint(missingPicture(asked));
    return;
  }
  showGhosts();
  const answer = await askForHits(asked, 0);
  if (!answer) return;
  found = { ...answer, isComplete: answer.hits.length < PAGE_SIZE };
  grid.replaceChildren();
  showSummary(found);
  appendHits(found.hits);
  showHitInAddress();
}

async function showMore() {
  if (!found) return;
  const shown = found;
  const answer = await askForHits(query, shown.hits.length);
  if (!answer) return;
  // Where images were added meanwhile, those that were shown before have moved on.
  const known = new Set(shown.hits.map((hit) => hit.id));
  clearMessage();
  const fresh = answer.hits.filter((hit) => !known.has(hit.id));
  const first = shown.hits.length;
  shown.hits.push(...fresh);
  shown.isComplete = answer.hits.length < PAGE_SIZE;
  showSummary(shown);
  appendHits(fresh);
  if (fresh.length) focusHit(first);
}

/**
 * Return the answer, or null where there is none; the page then shows why. To a query that asks for
 * nothing it is the newest images that pass its filters.
 *
 * @param {Query} asked @param {number} offset @returns {Promise<SearchAnswer | null>}
 */
async function askForHits(asked, offset) {
  stopSearching();
  const controller = new AbortController();
  searchUnderWay = controller;
  resultsPane.setAttribute("aria-busy", "true");
  const browsing = isEmpty(asked);
  const words = { text: asked.text.trim(), not: asked.without, why: true };
  /** @type {Record<string, unknown>} */
  const body = { ...(browsing ? {} : words), k: PAGE_SIZE, offset };
  // The server takes no empty ones: without a filter there is none.
  for (const name of /** @type {const} */ (["image", ...TEXT_FIELDS])) {
    if (asked[name]) body[name] = asked[name];
  }
  if (isMixed(asked)) body.text_share = asked.share;
  try {
    if (!browsing) return await request("v1/search", body, controller.signal);
    const { hits, ...rest } = await request("v1/browse", body, controller.signal);
    const nothingAsked = { similarity: null, also: [], sentences: [] };
    const images = hits.map((/** @type {Hit} */ hit) => ({ ...hit, ...nothingAsked }));
    return { ...rest, hits: images, sentences: [], notes: [] };
  } catch (error) {
    if (!isAbort(error)) showError(error);
    return null;
  } finally {
    if (searchUnderWay === controller) resultsPane.removeAttribute("aria-busy");
  }
}

function stopSearching() {
  searchUnderWay?.abort();
  clearInterval(retryTimer);
}

// ---- Results -------------------------------------------------------------------------------------

/** @param {SearchAnswer & { isComplete: boolean }} answer */
function showSummary({ hits, total, took_ms, sentences, notes, isComplete }) {
  const milliseconds = Math.max(1, Math.round(took_ms));
  const [order, more] = isEmpty(query) ? ["Newest", ""] : ["Best", `, in ${milliseconds} ms`];
  statusLine.textContent = hits.length
    ? `${order} ${numberFormat.format(hits.length)} of ${count(total, "image")}${more}`
    : "No images found";
  legend.hidden = !sentences.length || !hits.length;
  const allNotes = query.imageName && !query.image ? [...notes, missingPicture(query)] : notes;
  noteList.hidden = !allNotes.length;
  noteList.replaceChildren(...allNotes.map((note) => make("li", {}, note)));
  moreButton.hidden = isComplete || hits.length >= Math.min(total, MAX_HITS);
  if (!hits.length) showNothingFound();
}

/** @param {Hit[]} hits */
function appendHits(hits) {
  grid.classList.remove("ghosts");
  const first = grid.children.length;
  grid.append(...hits.map((hit, i) => tileOf(hit, first + i)));
  if (!first) setFocusable(0);
}

/** @param {Hit} hit @param {number} index */
function tileOf({ id, name, width, height, also, similarity, sentences }, index) {
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", draggable: false });
  image.addEventListener("error", () =>
    image.replaceWith(make("span", { className: "lost" }, "No preview any more")),
  );
  image.src = thumbnailOf(id);
  if (width) image.style.setProperty("--width", String(width));
  if (height) image.style.setProperty("--height", String(height));

  const caption = make("span", { className: "under" }, make("bdi", { className: "name" }, name));
  if (also.length) caption.append(make("span", {}, `+${count(also.length, "copy", "copies")}`));
  if (similarity !== null) {
    caption.append(make("span", { className: "similarity" }, similarity.toFixed(3)));
  }

  const frame = make("span", { className: "frame" }, image);
  const button = make("button", { type: "button", className: "hit", tabIndex: -1 }, frame, caption);
  button.dataset.index = String(index);
  button.ariaLabel = `${index + 1}. ${name}`;
  if (similarity !== null) button.ariaLabel += `, similarity ${similarity.toFixed(3)}`;
  if (sentences.length) {
    const verdicts = sentences.map(verdictOf);
    const satisfied = sentences.filter((score) => score >= SATISFIED).length;
    const all = count(sentences.length, "sentence");
    button.ariaLabel += `, ${satisfied} of ${all} fit more than most images`;
    button.append(make("span", { className: "marks" }, ...verdicts.map(verdictMark)));
  }
  const item = make("li", {}, button);
  // Panoramas and towers are cropped to what a row can hold.
  const shape = width && height ? Math.min(2.2, Math.max(0.6, width / height)).toFixed(3) : "1";
  item.style.setProperty("--shape", shape);
  return item;
}

/** @param {Verdict} verdict */
const verdictMark = (verdict) => make("i", { className: `mark ${verdict}` });

/** Show empty frames while the first answer is awaited. */
function showGhosts() {
  statusLine.textContent = isEmpty(query) ? "Loading …" : "Searching …";
  for (const element of [legend, noteList, moreButton]) element.hidden = true;
  const shapes = ["1.5", "1", "0.75", "1.33"];
  const ghosts = [...shapes, ...shapes, ...shapes].map((shape) => {
    const frame = make("span", { className: "frame" });
    const ghost = make("li", { className: "ghost", ariaHidden: "true" }, frame);
    ghost.style.setProperty("--shape", shape);
    return ghost;
  });
  grid.classList.add("ghosts");
  grid.replaceChildren(...ghosts);
}

// ---- Focus: Tab comes to one hit, and arrows lead to the others ----------------------------------

/** The hit that has the focus, or had it last. */
let focusedIndex = 0;

/** @returns {HTMLButtonElement[]} */
const tiles = () => [...grid.querySelectorAll(/** @type {"button"} */ (".hit"))];

/** Let Tab come to this hit, and to no other. @param {number} index */
function setFocusable(index) {
  const all = tiles();
  const before = all[focusedIndex];
  const now = all[index];
  if (before) before.tabIndex = -1;
  if (now) now.tabIndex = 0;
  focusedIndex = index;
  return now;
}

/** @param {number} index */
const focusHit = (index) => setFocusable(index)?.focus();

/**
 * Return the hit that a key leads to: the next one, or the nearest in the row above or below.
 *
 * @param {string} key
 */
function neighbour(key) {
  const all = tiles();
  if (key === "Home") return 0;
  if (key === "End") return all.length - 1;
  if (key === "ArrowRight") return Math.min(focusedIndex + 1, all.length - 1);
  if (key === "ArrowLeft") return Math.max(focusedIndex - 1, 0);
  const places = all.map((tile, index) => {
    const { top, left, width } = tile.getBoundingClientRect();
    return { index, top, middle: left + width / 2 };
  });
  const here = places[focusedIndex];
  if (!here) return focusedIndex;
  const isDown = key === "ArrowDown";
  const ahead = isDown ? places.slice(here.index) : places.slice(0, here.index).reverse();
  const rowTop = ahead.find(({ top }) => top !== here.top)?.top;
  const row = places.filter(({ top }) => top === rowTop);
  row.sort((a, b) => Math.abs(a.middle - here.middle) - Math.abs(b.middle - here.middle));
  return row[0]?.index ?? focusedIndex;
}

// ---- Messages: hints, nothing found, errors ------------------------------------------------------

function clearMessage() {
  clearInterval(retryTimer);
  messageBox.hidden = true;
  messageBox.replaceChildren();
  filterFields.where.removeAttribute("aria-invalid");
}

/**
 * @param {string} title
 * @param {(Node | string)[]} paragraphs
 * @param {[words: string, act: () => void]} [button]
 */
function showMessage(title, paragraphs, button) {
  messageBox.hidden = false;
  messageBox.replaceChildren(
    make("h2", {}, title),
    ...paragraphs.map((paragraph) => make("p", {}, paragraph)),
  );
  if (!button) return;
  const [words, act] = button;
  const element = make("button", { type: "button", className: "button small" }, words);
  element.addEventListener("click", act);
  messageBox.append(make("div", { className: "actions" }, element));
}

/** @param {string} words */
const showHint = (words) => showMessage("One thing first", [words]);

function showNothingFound() {
  if (server?.images === 0 || !isAsked(query)) {
    const help = "Put some into this database: longclip index FOLDER --db …";
    showMessage("There are no images yet", [help]);
  } else if (isFiltered(query)) {
    const noFilters = { folder: "", after: "", before: "", where: "" };
    showMessage(
      "No image passes the filters",
      ["The description alone never leaves images out; the filters do."],
      ["Remove the filters", () => startSearch({ ...query, ...noFilters })],
    );
  } else {
    showMessage("Nothing found", ["Try other words, or another picture."]);
  }
}

/** @param {unknown} error */
function showError(error) {
  statusLine.textContent = "";
  if (grid.classList.contains("ghosts")) grid.replaceChildren();
  if (!(error instanceof RequestError)) {
    const words = error instanceof Error ? error.message : String(error);
    showMessage("Something went wrong on this page", [words], ["Try again", tryAgain]);
  } else if (error.retryAfter) {
    countDown(error, error.retryAfter);
  } else {
    showMessage(error.title, [error.message], ["Try again", tryAgain]);
    if (error.status === 400 && query.where) {
      filterFields.where.setAttribute("aria-invalid", "true");
      filterPanel.open = true;
    }
  }
}

/**
 * Show an error, and repeat the search after that many seconds.
 *
 * @param {RequestError} error @param {number} retryAfter
 */
function countDown(error, retryAfter) {
  let seconds = Math.ceil(retryAfter);
  const clock = make("span", { ariaHidden: "true" }); // not to be read out every second
  const showSeconds = () => {
    clock.textContent = seconds > 0 ? ` in ${seconds} s` : " now";
  };
  showSeconds();
  const promise = make("span", {}, "The search is repeated by itself", clock, ".");
  showMessage(error.title, [error.message, promise], ["Try again", tryAgain]);
  retryTimer = setInterval(() => {
    seconds -= 1;
    showSeconds();
    if (seconds <= 0) tryAgain();
  }, 1000);
}

function tryAgain() {
  clearInterval(retryTimer);
  if (!server) askAboutServer();
  if (found) showMore();
  else search(query);
}
