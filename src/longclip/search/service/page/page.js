// @ts-check
"use strict";

/*
 * The search page: a form, a grid of hits, and a view of one hit in full.
 *
 * File names, captions and messages are written by others: they reach the page as text, never as
 * HTML. What has been asked is in the address, so that a link, Back and Forward all work.
 *
 * Sections: types, settings, elements and state, helpers, requests, the query, the description and
 * its marks, a picture in the query, searching, results, messages, one hit in full, keyboard, start.
 */

// ---- Types: what the server answers (schemas.py), and what is asked ------------------------------

/**
 * @typedef {object} About
 * @property {string} model
 * @property {number} images
 * @property {number} context_length
 * @property {string[]} example_folders
 *
 * @typedef {object} TokenCount
 * @property {number} count
 * @property {number} context_length
 * @property {number | null} cut_77 index of the first character that a CLIP of 77 tokens ignores
 * @property {number | null} cut index of the first character that this model ignores
 *
 * @typedef {object} Hit
 * @property {string} id
 * @property {string} uri
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {number} bytes
 * @property {string} format
 * @property {string | null} taken
 * @property {number | null} latitude
 * @property {number | null} longitude
 * @property {string | null} camera
 * @property {string | null} caption
 * @property {number} similarity
 * @property {string[]} also where copies of this image are
 * @property {number[]} sentences standard score of each sentence of the query (sentence_scores.py)
 *
 * @typedef {object} SearchAnswer
 * @property {Hit[]} hits
 * @property {string[]} sentences
 * @property {number} total
 * @property {string[]} notes
 * @property {number} took_ms
 *
 * @typedef {object} Query
 * @property {string} text
 * @property {string[]} without what must not be in the picture
 * @property {string} like id of a hit
 * @property {string} image data URL of a picture that was dropped, pasted or chosen
 * @property {string} imageName
 * @property {number} share what the text counts for beside a picture, 0 to 1
 * @property {string} folder
 * @property {string} after
 * @property {string} before
 * @property {string} where
 *
 * @typedef {"yes" | "open" | "no"} Verdict
 * @typedef {{ at: number, state: string, label: number }} Cut a place where a model stops reading
 * @typedef {{ start: number, end: number, state: string }} Mark a stretch of text with a class name
 */

// ---- Settings ------------------------------------------------------------------------------------

const PAGE_SIZE = 48;
const MAX_HITS = 2000; // the server goes no further down
const SATISFIED = 1; // standard deviations above what this sentence scores on other images
const UNSATISFIED = 0;
/** @type {Record<Verdict, [sign: string, meaning: string]>} */
const VERDICTS = { yes: ["✓", "fits"], open: ["~", "unclear"], no: ["✕", "does not fit"] };
const CLIP_TOKENS = 77;
const WORDS_PER_TOKEN = 0.75;
const DEFAULT_SHARE = 0.5;
const TYPING_PAUSE_MS = 160; // without a key, before tokens are counted
const SLIDING_PAUSE_MS = 250; // without a move, before the share is searched with
const SERVER_PAUSE_S = 5; // between two tries to reach a server that does not answer
const MAX_UPLOAD_BYTES = 1_000_000;
const MAX_UPLOAD_SIDE = 1024; // pixels; models look at a few hundred
const UPLOADED_AS_IS = new Set(["image/jpeg", "image/png", "image/webp"]);
const FILTERS = /** @type {const} */ (["folder", "after", "before", "where"]);
const KEYS_THAT_MOVE = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"]);

// ---- Elements and state --------------------------------------------------------------------------

/**
 * Return the element of that id, or fail as soon as the page is loaded.
 *
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
function byId(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`#${id} is not a ${kind.name}`);
  return element;
}

const layout = byId("layout", HTMLDivElement);
const about = byId("about", HTMLParagraphElement);

const form = byId("form", HTMLFormElement);
const textBox = byId("text", HTMLTextAreaElement);
const mirror = byId("mirror", HTMLDivElement);
const tokenMeter = byId("meter", HTMLDivElement);
const tokenWords = byId("tokens", HTMLParagraphElement);
const withoutField = byId("without", HTMLInputElement);
const filterPanel = byId("filters", HTMLDetailsElement);
const filterCount = byId("filters-count", HTMLSpanElement);
const filterFields = {
  folder: byId("folder", HTMLInputElement),
  after: byId("after", HTMLInputElement),
  before: byId("before", HTMLInputElement),
  where: byId("where", HTMLInputElement),
};
const exampleFolders = byId("folders", HTMLDataListElement);
const clearButton = byId("clear", HTMLButtonElement);

const picture = byId("picture", HTMLDivElement);
const picturePreview = byId("picture-preview", HTMLImageElement);
const pictureName = byId("picture-name", HTMLSpanElement);
const pictureKind = byId("picture-kind", HTMLElement);
const pictureRemove = byId("picture-remove", HTMLButtonElement);
const fileField = byId("file", HTMLInputElement);
const shareRow = byId("mix", HTMLDivElement);
const shareSlider = byId("share", HTMLInputElement);
const dropTarget = byId("drop", HTMLDivElement);

const resultsPane = byId("results", HTMLElement);
const statusLine = byId("status", HTMLParagraphElement);
const legend = byId("legend", HTMLParagraphElement);
const noteList = byId("notes", HTMLUListElement);
const messageBox = byId("message", HTMLElement);
const grid = byId("grid", HTMLUListElement);
const moreButton = byId("more", HTMLButtonElement);

const detail = byId("detail", HTMLDialogElement);
const detailImage = byId("detail-image", HTMLImageElement);
const detailGone = byId("detail-gone", HTMLParagraphElement);
const detailBack = byId("detail-back", HTMLButtonElement);
const detailOn = byId("detail-on", HTMLButtonElement);
const detailName = byId("detail-name", HTMLHeadingElement);
const detailClose = byId("detail-close", HTMLButtonElement);
const detailLike = byId("detail-like", HTMLButtonElement);
const detailOriginal = byId("detail-original", HTMLAnchorElement);
const detailCopy = byId("detail-copy", HTMLButtonElement);
const detailWhy = byId("detail-why", HTMLElement);
const detailSentences = byId("detail-sentences", HTMLOListElement);
const detailCaption = byId("detail-caption", HTMLParagraphElement);
const detailCaptionPart = byId("detail-told", HTMLElement);
const detailFacts = byId("detail-facts", HTMLDListElement);

/** @type {About | null} what the server has said of itself, once it has */
let server = null;
/** @type {(TokenCount & { text: string }) | null} the last count, and the text that it is of */
let tokens = null;
/** What has been asked. */
let query = emptyQuery();
/** @type {(SearchAnswer & { isComplete: boolean }) | null} the answer; its hits grow with "more" */
let found = null;
/** The hit that has the focus, or had it last. */
let focusedIndex = 0;
/** @type {Hit | null} the hit whose sentences are painted behind the words */
let pointedHit = null;
/** The hit that is shown in full. */
let openedIndex = 0;
/** @type {AbortController | null} */
let searchUnderWay = null;
/** @type {number | undefined} */
let retryTimer;

// ---- Helpers -------------------------------------------------------------------------------------

const numberFormat = new Intl.NumberFormat("en");

/**
 * Return a new element. Children are elements or strings, and strings stay text.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]>} [properties]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/**
 * @param {number} amount
 * @param {string} singular
 */
function count(amount, singular, plural = `${singular}s`) {
  return `${numberFormat.format(amount)} ${amount === 1 ? singular : plural}`;
}

/**
 * Return a function that runs `action` once it has not been called for that long.
 *
 * @param {number} milliseconds
 * @param {() => void} action
 */
function debounce(milliseconds, action) {
  /** @type {number | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}

/**
 * Return where the server's index is in a JavaScript string: Python counts characters, JavaScript
 * UTF-16 code units.
 *
 * @param {string} text
 * @param {number} index
 */
function toUtf16(text, index) {
  return [...text].slice(0, index).join("").length;
}

/** Form and results are above each other, as on a phone. */
const isStacked = () => !matchMedia("(min-width: 60rem)").matches;

/** @param {string} id */
const thumbnailOf = (id) => `thumb/${encodeURIComponent(id)}`;

/** @param {string} id */
const originalOf = (id) => `image/${encodeURIComponent(id)}`;

// ---- Requests ------------------------------------------------------------------------------------

/** What the page says when a request has failed, and when the server may be asked again. */
class RequestError extends Error {
  /**
   * @param {string} title
   * @param {string} message
   * @param {{ status?: number, retryAfter?: number }} [more] retryAfter in seconds
   */
  constructor(title, message, { status, retryAfter } = {}) {
    super(message);
    this.title = title;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * Get a path, or post a body to it, and return the JSON that is answered.
 *
 * @param {string} path
 * @param {object} [body]
 * @param {AbortSignal} [signal]
 * @throws {RequestError} where there is no answer, or one of an error
 * @throws {DOMException} AbortError where the signal has stopped it
 */
async function request(path, body, signal) {
  const post = body && {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json" },
  };
  let response;
  try {
    response = await fetch(path, { ...post, signal });
    if (response.ok) return await response.json();
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new RequestError(
      "The server does not answer",
      "It may have been stopped; start it again with longclip serve.",
      { retryAfter: SERVER_PAUSE_S },
    );
  }
  throw errorOf(response, await messageIn(response));
}

/** @param {unknown} error */
const isAbort = (error) => error instanceof DOMException && error.name === "AbortError";

/**
 * Return the words of an error in OpenAI's shape or in FastAPI's.
 *
 * @param {Response} response
 * @returns {Promise<string>}
 */
async function messageIn(response) {
  const body = await response.json().catch(() => ({}));
  if (body.error?.message) return String(body.error.message);
  if (Array.isArray(body.detail))
    return body.detail.map((/** @type {{ msg: string }} */ one) => one.msg).join("; ");
  return body.detail ? String(body.detail) : "";
}

/**
 * @param {Response} response
 * @param {string} message
 */
function errorOf({ status, headers }, message) {
  const seconds = Number(headers.get("Retry-After")) || 2;
  const isBusy = status === 429 || status === 503;
  const [title, fallback] = wordsOnStatus(status);
  return new RequestError(title, message || fallback, {
    status,
    retryAfter: isBusy ? seconds : undefined,
  });
}

/**
 * Return a title, and what to say where the server says nothing more.
 *
 * @param {number} status
 * @returns {[title: string, fallback: string]}
 */
function wordsOnStatus(status) {
  switch (status) {
    case 401:
    case 403:
      return [
        "This server asks for its token",
        "Open the address that longclip serve has printed, with ?token=… in it.",
      ];
    case 413:
      return ["Too large", "The picture or the text is larger than the server takes."];
    case 429:
      return ["Many searches at once", "The server is busy."];
    case 503:
      return ["Not ready yet", "The server is starting or stopping."];
    case 504:
      return ["It took too long", "Try again, or make the description shorter."];
  }
  if (status >= 500) return ["Something went wrong in the server", "Its log says more."];
  return ["This cannot be searched", `The server answered ${status}.`];
}

// ---- The query: in the form, in the address, in the history --------------------------------------

/** @returns {Query} */
function emptyQuery() {
  return {
    text: "",
    without: [],
    like: "",
    image: "",
    imageName: "",
    share: DEFAULT_SHARE,
    folder: "",
    after: "",
    before: "",
    where: "",
  };
}

/** @param {Query} asked */
const isEmpty = (asked) =>
  !asked.text.trim() && !asked.without.length && !asked.like && !asked.image;

/** @param {Query} asked */
const isFiltered = (asked) => FILTERS.some((name) => asked[name]);

/** @param {Query} asked */
const isMixed = (asked) => Boolean(asked.text.trim() && (asked.imageName || asked.like));

/**
 * Drop the share of a query in which there is nothing to share.
 *
 * @param {Query} asked
 */
const normalized = (asked) => (isMixed(asked) ? asked : { ...asked, share: DEFAULT_SHARE });

/**
 * @param {Query} one
 * @param {Query} other
 */
const isSameQuery = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** @returns {Query} */
function queryInForm() {
  const asked = {
    ...query,
    text: textBox.value,
    without: withoutField.value
      .split(";")
      .map((one) => one.trim())
      .filter(Boolean),
    share: Number(shareSlider.value) / 100,
  };
  for (const name of FILTERS) asked[name] = filterFields[name].value.trim();
  return asked;
}

/** @param {Query} asked */
function fillForm(asked) {
  textBox.value = asked.text;
  withoutField.value = asked.without.join("; ");
  for (const name of FILTERS) filterFields[name].value = asked[name];
  if (isFiltered(asked)) filterPanel.open = true;
  shareSlider.value = String(Math.round(100 * asked.share));
  showPicture(asked);
  showFilterCount();
  countTokens();
}

function showFilterCount() {
  const used = FILTERS.filter((name) => filterFields[name].value.trim()).length;
  filterCount.textContent = used ? ` (${used} in use)` : "";
}

/**
 * Return the address of a query. All of it is in there but the pixels of a dropped picture: those
 * stay in the history of this tab.
 *
 * @param {Query} asked
 * @param {string} open id of the hit that is shown in full
 */
function addressOf(asked, open = "") {
  const parameters = new URLSearchParams();
  if (asked.text.trim()) parameters.set("q", asked.text);
  for (const one of asked.without) parameters.append("not", one);
  for (const name of /** @type {const} */ (["like", ...FILTERS])) {
    if (asked[name]) parameters.set(name, asked[name]);
  }
  if (asked.imageName) parameters.set("picture", asked.imageName);
  if (asked.share !== DEFAULT_SHARE) parameters.set("share", String(asked.share));
  if (open) parameters.set("open", open);
  return parameters.size ? `?${parameters}` : "./";
}

function queryInAddress() {
  const parameters = new URLSearchParams(location.search);
  const asked = emptyQuery();
  asked.text = parameters.get("q") ?? "";
  asked.without = parameters.getAll("not");
  for (const name of /** @type {const} */ (["like", ...FILTERS])) {
    asked[name] = parameters.get(name) ?? "";
  }
  asked.imageName = parameters.get("picture") ?? "";
  if (asked.imageName) asked.image = history.state?.image ?? "";
  const share = Number(parameters.get("share") ?? DEFAULT_SHARE);
  if (share >= 0 && share <= 1) asked.share = share;
  return normalized(asked);
}

const openInAddress = () => new URLSearchParams(location.search).get("open") ?? "";

/** @param {Query} asked */
const historyStateOf = (asked) => ({ image: asked.image });

/**
 * Search for something new, as a step of the history.
 *
 * @param {Query} wanted
 */
function startSearch(wanted) {
  const asked = normalized(wanted);
  if (isEmpty(asked) && isFiltered(asked)) {
    showHint(
      "Describe the picture first, or add one: filters alone do not say which images come first.",
    );
    textBox.focus();
    return;
  }
  const step = isSameQuery(asked, query) ? "replaceState" : "pushState";
  history[step](historyStateOf(asked), "", addressOf(asked));
  fillForm(asked);
  search(asked);
  const focused = document.activeElement;
  if (isStacked() && !isEmpty(asked) && focused !== shareSlider) {
    if (focused instanceof HTMLElement) focused.blur(); // puts a phone's keyboard away
    resultsPane.scrollIntoView();
  }
}

/** Show what the address asks for, after Back, Forward or opening a link. */
function followAddress() {
  const asked = queryInAddress();
  if (found && isSameQuery(asked, query)) {
    showHitInAddress();
    return;
  }
  detail.close();
  fillForm(asked);
  search(asked);
}

// ---- The description: its tokens, and the marks behind its words ---------------------------------

async function countTokens() {
  const text = textBox.value;
  if (!text.trim()) {
    tokens = null;
  } else {
    /** @type {TokenCount | null} */
    const answer = await request("v1/tokens", { text }).catch(() => null);
    if (textBox.value !== text) return; // a later count is on its way
    tokens = answer && { ...answer, text };
  }
  showTokens();
  paintMarks();
}

const countTokensSoon = debounce(TYPING_PAUSE_MS, countTokens);

function showTokens() {
  const limit = tokens?.context_length ?? server?.context_length ?? 0;
  const used = tokens?.count ?? 0;
  const whole = Math.max(used, limit, 1);
  tokenMeter.style.setProperty("--part", String(used / whole));
  tokenMeter.style.setProperty("--seventy-seven", String(CLIP_TOKENS / whole));
  const line = tokenMeter.querySelector("b");
  if (line) line.hidden = whole <= CLIP_TOKENS;
  tokenWords.replaceChildren(...wordsOnTokens(limit));
}

/**
 * @param {number} limit 0 where it is not known
 * @returns {(Node | string)[]}
 */
function wordsOnTokens(limit) {
  if (!limit) {
    return [textBox.value.trim() ? "Tokens are counted when the server answers." : "\u00a0"];
  }
  if (!tokens) {
    const words = numberFormat.format(Math.round((limit * WORDS_PER_TOKEN) / 10) * 10);
    return [`This model reads up to ${count(limit, "token")} at once, about ${words} words.`];
  }
  const amount = `${numberFormat.format(tokens.count)} of ${count(limit, "token")}`;
  return [make("strong", {}, amount), wordsOnCut(tokens, limit)];
}

/**
 * @param {TokenCount & { text: string }} counted
 * @param {number} limit
 */
function wordsOnCut({ count, cut_77, text }, limit) {
  if (count > limit) {
    return ". Longer than the model reads at once: it is searched in parts, sentence by sentence, and they are combined.";
  }
  if (cut_77 === null) return "";
  const words = text.slice(0, toUtf16(text, cut_77)).trim().split(/\s+/);
  const tail = (words.length > 3 ? "… " : "") + words.slice(-3).join(" ");
  return `. A CLIP of ${CLIP_TOKENS} tokens would stop at “${tail}”.`;
}

/**
 * Paint the sentences that this hit satisfies, or of no hit, until another is pointed at.
 *
 * @param {Hit | null} hit
 */
function pointAt(hit) {
  pointedHit = hit;
  paintMarks();
}

/** Mark where models stop reading, and the sentences that the hit pointed at satisfies. */
function paintMarks() {
  const text = textBox.value;
  const cuts = tokens?.text === text ? cutsOf(tokens) : [];
  /** @type {Mark[]} */
  const marks = cuts.map(({ at, state }) => ({ start: at, end: text.length, state }));
  if (pointedHit && found && text === query.text) {
    marks.push(...sentenceMarks(text, found.sentences, pointedHit.sentences));
  }
  mirror.replaceChildren(...paintedText(text, marks, cuts), "\u200b");
}

/**
 * @param {TokenCount & { text: string }} counted
 * @returns {Cut[]}
 */
function cutsOf({ text, cut, cut_77, context_length }) {
  const cuts = [];
  if (cut_77 !== null && context_length > CLIP_TOKENS) {
    cuts.push({ at: toUtf16(text, cut_77), state: "after-77", label: CLIP_TOKENS });
  }
  if (cut !== null) {
    cuts.push({ at: toUtf16(text, cut), state: "after-limit", label: context_length });
  }
  return cuts;
}

/**
 * Find each sentence in the text; the server gives them with their white space collapsed.
 *
 * @param {string} text
 * @param {string[]} sentences
 * @param {number[]} scores
 */
function sentenceMarks(text, sentences, scores) {
  /** @type {Mark[]} */
  const marks = [];
  let from = 0;
  sentences.forEach((sentence, i) => {
    const words = sentence.split(/\s+/).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const pattern = new RegExp(words.join("\\s+"), "g");
    pattern.lastIndex = from;
    const place = pattern.exec(text);
    if (!place) return;
    from = pattern.lastIndex;
    marks.push({ start: place.index, end: from, state: verdictOf(scores[i] ?? 0) });
  });
  return marks;
}

/**
 * Return the text in spans, each with the class names of all marks that it lies in.
 *
 * @param {string} text
 * @param {Mark[]} marks
 * @param {Cut[]} cuts
 */
function paintedText(text, marks, cuts) {
  const edges = new Set([0, text.length, ...marks.flatMap(({ start, end }) => [start, end])]);
  const places = [...edges].sort((a, b) => a - b);
  return places.flatMap((start, i) => {
    const labels = cuts.filter(({ at }) => at === start).map(cutLabel);
    const end = places[i + 1];
    if (end === undefined) return labels;
    const around = marks.filter((mark) => mark.start <= start && mark.end >= end);
    const className = around.map(({ state }) => state).join(" ");
    return [...labels, make("span", { className }, text.slice(start, end))];
  });
}

/** @param {Cut} cut */
function cutLabel({ label }) {
  const element = make("span", { className: "cut" });
  element.dataset.label = String(label);
  return element;
}

/**
 * Return the verdict of sentence_scores.py.
 *
 * @param {number} score
 * @returns {Verdict}
 */
function verdictOf(score) {
  if (score >= SATISFIED) return "yes";
  return score < UNSATISFIED ? "no" : "open";
}

// ---- A picture in the query ----------------------------------------------------------------------

/** @param {FileList | null | undefined} files */
const pictureAmong = (files) => [...(files ?? [])].find((file) => file.type.startsWith("image/"));

/** @param {File} file */
async function searchWithPicture(file) {
  try {
    const image = await dataUrlOf(file);
    startSearch({ ...queryInForm(), image, imageName: file.name || "pasted picture", like: "" });
  } catch {
    showHint(`“${file.name}” cannot be read as a picture here. JPEG, PNG and WebP can.`);
  }
}

/**
 * Return a picture as a data URL; a large one is reduced before it travels.
 *
 * @param {File} file
 * @returns {Promise<string>}
 */
async function dataUrlOf(file) {
  const bitmap = await createImageBitmap(file);
  if (file.size <= MAX_UPLOAD_BYTES && UPLOADED_AS_IS.has(file.type)) return readAsDataUrl(file);
  const scale = Math.min(1, MAX_UPLOAD_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = make("canvas", {
    width: Math.max(1, Math.round(bitmap.width * scale)),
    height: Math.max(1, Math.round(bitmap.height * scale)),
  });
  const context = canvas.getContext("2d");
  if (!context) throw new Error("no canvas to be had");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
}

/**
 * @param {File} file
 * @returns {Promise<string>}
 */
function readAsDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** @param {Query} asked */
function showPicture({ image, imageName, like }) {
  const isThere = Boolean(image || like);
  picture.hidden = !isThere;
  showShare();
  clearButton.hidden = !isThere && !textBox.value && !found;
  if (!isThere) return;
  picturePreview.src = image || thumbnailOf(like);
  pictureName.textContent = image ? imageName : "More like this image";
  pictureKind.textContent = image
    ? "Images like this picture, and like the text"
    : "Write what should be different";
}

function showShare() {
  const share = Number(shareSlider.value);
  shareRow.hidden = picture.hidden || !textBox.value.trim();
  shareSlider.ariaValueText = `text ${share} %, picture ${100 - share} %`;
}

/** @param {Query} asked */
const missingPicture = ({ imageName }) =>
  `The picture “${imageName}” is not part of the link. Drop it here again to search with it.`;

// ---- Searching -----------------------------------------------------------------------------------

/** @param {Query} asked */
async function search(asked) {
  stopSearching();
  query = asked;
  found = pointedHit = null;
  focusedIndex = 0;
  const title = asked.text.trim().slice(0, 60);
  document.title = title ? `${title} · longclip` : "longclip";
  clearMessage();
  layout.dataset.view = isEmpty(asked) ? "start" : "results";
  if (isEmpty(asked)) {
    grid.replaceChildren();
    if (asked.imageName) showHint(missingPicture(asked));
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
  const fresh = answer.hits.filter((hit) => !known.has(hit.id));
  const first = shown.hits.length;
  shown.hits.push(...fresh);
  shown.isComplete = answer.hits.length < PAGE_SIZE;
  showSummary(shown);
  appendHits(fresh);
  if (fresh.length) focusHit(first);
}

/**
 * Return the answer, or null where there is none; the page then shows why.
 *
 * @param {Query} asked
 * @param {number} offset
 * @returns {Promise<SearchAnswer | null>}
 */
async function askForHits(asked, offset) {
  stopSearching();
  const controller = new AbortController();
  searchUnderWay = controller;
  resultsPane.setAttribute("aria-busy", "true");
  try {
    return await request("v1/search", bodyOf(asked, offset), controller.signal);
  } catch (error) {
    if (!isAbort(error)) showError(error);
    return null;
  } finally {
    if (searchUnderWay === controller) resultsPane.removeAttribute("aria-busy");
  }
}

/**
 * @param {Query} asked
 * @param {number} offset
 */
function bodyOf(asked, offset) {
  /** @type {Record<string, unknown>} */
  const body = { text: asked.text.trim(), not: asked.without, k: PAGE_SIZE, offset, why: true };
  for (const name of /** @type {const} */ (["like", "image", ...FILTERS])) {
    if (asked[name]) body[name] = asked[name];
  }
  if (isMixed(asked)) body.text_share = asked.share;
  return body;
}

function stopSearching() {
  searchUnderWay?.abort();
  clearInterval(retryTimer);
}

// ---- Results -------------------------------------------------------------------------------------

/** @param {SearchAnswer & { isComplete: boolean }} answer */
function showSummary({ hits, total, took_ms, sentences, notes, isComplete }) {
  clearMessage();
  const milliseconds = Math.max(1, Math.round(took_ms));
  statusLine.textContent = hits.length
    ? `Best ${numberFormat.format(hits.length)} of ${count(total, "image")}, in ${milliseconds} ms`
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

/** @returns {HTMLButtonElement[]} */
const tiles = () => [...grid.querySelectorAll(/** @type {"button"} */ (".hit"))];

/**
 * @param {Hit} hit
 * @param {number} index
 */
function tileOf(hit, index) {
  const button = make(
    "button",
    { type: "button", className: "hit", tabIndex: -1, ariaLabel: labelOf(hit, index) },
    frameOf(hit),
    captionOf(hit),
  );
  button.dataset.index = String(index);
  if (hit.sentences.length) {
    const marks = hit.sentences.map((score) => verdictMark(verdictOf(score)));
    button.append(make("span", { className: "marks" }, ...marks));
  }
  const item = make("li", {}, button);
  item.style.setProperty("--shape", shapeOf(hit));
  return item;
}

/**
 * Return width by height; panoramas and towers are cropped to what a row can hold.
 *
 * @param {Hit} hit
 */
function shapeOf({ width, height }) {
  return width && height ? Math.min(2.2, Math.max(0.6, width / height)).toFixed(3) : "1";
}

/**
 * @param {Hit} hit
 * @param {number} index
 */
function labelOf({ name, similarity, sentences }, index) {
  const label = `${index + 1}. ${name}, similarity ${similarity.toFixed(3)}`;
  if (!sentences.length) return label;
  const satisfied = sentences.filter((score) => score >= SATISFIED).length;
  return `${label}, ${VERDICTS.yes[1]} ${satisfied} of ${count(sentences.length, "sentence")}`;
}

/** @param {Hit} hit */
function frameOf(hit) {
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", draggable: false });
  image.addEventListener("error", () =>
    image.replaceWith(make("span", { className: "lost" }, "No preview any more")),
  );
  image.src = thumbnailOf(hit.id);
  return make("span", { className: "frame" }, image);
}

/** @param {Hit} hit */
function captionOf({ name, also, similarity }) {
  const caption = make("span", { className: "under" }, make("bdi", { className: "name" }, name));
  if (also.length) caption.append(make("span", {}, `+${count(also.length, "copy", "copies")}`));
  caption.append(make("span", { className: "similarity" }, similarity.toFixed(3)));
  return caption;
}

/** @param {Verdict} verdict */
const verdictMark = (verdict) => make("i", { className: `mark ${verdict}` });

/** Show empty frames while the first answer is awaited. */
function showGhosts() {
  statusLine.textContent = "Searching …";
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
 * @param {...HTMLButtonElement} buttons
 */
function showMessage(title, paragraphs, ...buttons) {
  messageBox.hidden = false;
  messageBox.replaceChildren(
    make("h2", {}, title),
    ...paragraphs.map((paragraph) => make("p", {}, paragraph)),
  );
  if (buttons.length) messageBox.append(make("div", { className: "actions" }, ...buttons));
}

/** @param {string} words */
const showHint = (words) => showMessage("One thing first", [words]);

/**
 * @param {string} words
 * @param {() => void} act
 */
function messageButton(words, act) {
  const button = make("button", { type: "button", className: "button small" }, words);
  button.addEventListener("click", act);
  return button;
}

function showNothingFound() {
  if (server?.images === 0) {
    showMessage("There are no images yet", [
      "Put some into this database: longclip index FOLDER --db …",
    ]);
  } else if (isFiltered(query)) {
    const noFilters = { folder: "", after: "", before: "", where: "" };
    showMessage(
      "No image passes the filters",
      ["The description alone never leaves images out; the filters do."],
      messageButton("Remove the filters", () => startSearch({ ...query, ...noFilters })),
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
    showMessage("Something went wrong on this page", [messageOf(error)], tryAgainButton());
  } else if (error.retryAfter) {
    countDown(error, error.retryAfter);
  } else {
    showMessage(error.title, [error.message], tryAgainButton());
    if (error.status === 400 && query.where) {
      filterFields.where.setAttribute("aria-invalid", "true");
      filterPanel.open = true;
    }
  }
}

/** @param {unknown} error */
const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/**
 * Show an error, and repeat the search after that many seconds.
 *
 * @param {RequestError} error
 * @param {number} retryAfter
 */
function countDown(error, retryAfter) {
  let seconds = Math.ceil(retryAfter);
  const clock = make("span", { ariaHidden: "true" }); // not to be read out every second
  const showSeconds = () => {
    clock.textContent = seconds > 0 ? ` in ${seconds} s` : " now";
  };
  showSeconds();
  const promise = make("span", {}, "The search is repeated by itself", clock, ".");
  showMessage(error.title, [error.message, promise], tryAgainButton());
  retryTimer = setInterval(() => {
    seconds -= 1;
    showSeconds();
    if (seconds <= 0) tryAgain();
  }, 1000);
}

const tryAgainButton = () => messageButton("Try again", tryAgain);

function tryAgain() {
  clearInterval(retryTimer);
  if (!server) askAboutServer();
  if (found) showMore();
  else search(query);
}

// ---- One hit in full -----------------------------------------------------------------------------

/** @param {number} index */
const hitAt = (index) => found?.hits[index];

/** @param {number} index */
function openDetail(index) {
  const hit = hitAt(index);
  if (!hit) return;
  history.pushState({ ...historyStateOf(query), isOpened: true }, "", addressOf(query, hit.id));
  showDetail(index);
}

/**
 * Go to a neighbour without a step of the history: Back closes, however far one has leafed.
 *
 * @param {number} step
 */
function turn(step) {
  const hit = hitAt(openedIndex + step);
  if (!hit) return;
  history.replaceState(history.state, "", addressOf(query, hit.id));
  showDetail(openedIndex + step);
}

/** Show in full the hit that the address names, or none. */
function showHitInAddress() {
  const id = openInAddress();
  const index = found && id ? found.hits.findIndex((hit) => hit.id === id) : -1;
  if (index >= 0) showDetail(index);
  else detail.close();
}

/** @param {number} index */
function showDetail(index) {
  const hit = hitAt(index);
  if (!found || !hit) return;
  const { hits, sentences } = found;
  openedIndex = index;
  showOriginal(hit);
  detailName.textContent = hit.name;
  detailCaption.textContent = hit.caption;
  detailCaptionPart.hidden = !hit.caption;
  detailOriginal.href = originalOf(hit.id);
  detailCopy.textContent = "Copy path";
  detailCopy.hidden = !navigator.clipboard; // there is none on an address without TLS
  detailBack.disabled = index === 0;
  detailOn.disabled = index === hits.length - 1;
  detailWhy.hidden = !hit.sentences.length;
  detailSentences.replaceChildren(
    ...hit.sentences.map((score, i) => sentenceItem(sentences[i] ?? "", score)),
  );
  detailFacts.replaceChildren(
    ...factsOf(hit).flatMap(([name, value]) => [
      make("dt", {}, name),
      make("dd", { dir: "auto" }, value),
    ]),
  );
  if (!detail.open) detail.showModal();
}

/**
 * Show the thumbnail at once, and the original when it is there.
 *
 * @param {Hit} hit
 */
function showOriginal(hit) {
  const isStillShown = () => hitAt(openedIndex) === hit;
  detailGone.hidden = true;
  // Small images are not blown up to a blur.
  detailImage.style.setProperty("--natural", String(hit.width || 256));
  detailImage.src = thumbnailOf(hit.id);
  detailImage.alt = hit.caption || hit.name;
  const original = new Image();
  original.onload = () => {
    if (isStillShown()) detailImage.src = original.src;
  };
  original.onerror = () => {
    if (!isStillShown()) return;
    detailGone.hidden = false;
    detailGone.textContent = "The original cannot be read any more; this is its preview.";
  };
  original.src = originalOf(hit.id);
}

/**
 * @param {string} sentence
 * @param {number} score
 */
function sentenceItem(sentence, score) {
  const verdict = verdictOf(score);
  const [sign, meaning] = VERDICTS[verdict];
  const spoken = make("span", { className: "visually-hidden" }, `${meaning}: `);
  return make(
    "li",
    { className: verdict, title: `${meaning} (z = ${score.toFixed(1)})` },
    make("b", { ariaHidden: "true" }, sign),
    make("span", { dir: "auto" }, spoken, sentence),
  );
}

/**
 * Return name and value of everything that is known of an image.
 *
 * @param {Hit} hit
 * @returns {[name: string, value: string][]}
 */
function factsOf(hit) {
  const { latitude, longitude } = hit;
  const place =
    latitude !== null &&
    longitude !== null &&
    `${degrees(latitude, "NS")}, ${degrees(longitude, "EW")}`;
  /** @type {[string, string | null | false | 0][]} */
  const facts = [
    ["Taken", hit.taken && dateOf(hit.taken)],
    ["Camera", hit.camera],
    ["Place", place],
    ["Size", hit.width && `${hit.width} × ${hit.height} pixels`],
    ["File", [hit.format, hit.bytes && sizeOf(hit.bytes)].filter(Boolean).join(", ")],
    ["Similarity", hit.similarity.toFixed(3)],
    ["Path", hit.uri],
  ];
  for (const uri of hit.also) facts.push(["Copy at", uri]);
  return facts.flatMap(([name, value]) => (value ? [[name, value]] : []));
}

/** @param {string} iso */
function dateOf(iso) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  return date.toLocaleString("en", { dateStyle: "long", timeStyle: "short" });
}

/**
 * @param {number} angle
 * @param {string} signs
 */
const degrees = (angle, signs) => `${Math.abs(angle).toFixed(4)}° ${signs[angle < 0 ? 1 : 0]}`;

/** @param {number} bytes */
function sizeOf(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  let amount = bytes;
  let unit = 0;
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return `${amount.toFixed(unit && amount < 100 ? 1 : 0)} ${units[unit]}`;
}

function onDetailClosed() {
  if (openInAddress()) {
    if (history.state?.isOpened) history.back();
    else history.replaceState(historyStateOf(query), "", addressOf(query));
  }
  if (found) focusHit(openedIndex);
}

function searchForMoreLikeThis() {
  const hit = hitAt(openedIndex);
  if (!hit) return;
  const { folder, after, before, where } = query;
  startSearch({ ...emptyQuery(), folder, after, before, where, like: hit.id });
  detail.close();
  scrollTo({ top: 0 });
}

async function copyPath() {
  const uri = hitAt(openedIndex)?.uri ?? "";
  const isCopied = await navigator.clipboard.writeText(uri).then(
    () => true,
    () => false,
  );
  detailCopy.textContent = isCopied ? "Copied" : "Not allowed";
}

// ---- Keyboard and focus --------------------------------------------------------------------------

/**
 * Let Tab come to this hit, and to no other.
 *
 * @param {number} index
 */
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
  switch (key) {
    case "Home":
      return 0;
    case "End":
      return all.length - 1;
    case "ArrowRight":
      return Math.min(focusedIndex + 1, all.length - 1);
    case "ArrowLeft":
      return Math.max(focusedIndex - 1, 0);
    default:
      return nearestInNextRow(all, key === "ArrowDown" ? 1 : -1);
  }
}

/**
 * @param {HTMLButtonElement[]} all
 * @param {1 | -1} step
 */
function nearestInNextRow(all, step) {
  const places = all.map((tile, index) => {
    const { top, left, width } = tile.getBoundingClientRect();
    return { index, top, middle: left + width / 2 };
  });
  const here = places[focusedIndex];
  if (!here) return focusedIndex;
  const ahead = step > 0 ? places.slice(here.index) : places.slice(0, here.index).reverse();
  const rowTop = ahead.find(({ top }) => top !== here.top)?.top;
  const row = places.filter(({ top }) => top === rowTop);
  row.sort((a, b) => Math.abs(a.middle - here.middle) - Math.abs(b.middle - here.middle));
  return row[0]?.index ?? focusedIndex;
}

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

// ---- Start ---------------------------------------------------------------------------------------

async function askAboutServer() {
  /** @type {About} */
  let answer;
  try {
    answer = await request("v1/about");
  } catch (error) {
    // Anything else will be shown when something is searched for.
    const isRefused = error instanceof RequestError && [401, 403].includes(error.status ?? 0);
    if (isRefused) showError(error);
    return;
  }
  server = answer;
  about.textContent = [count(answer.images, "image"), answer.model].filter(Boolean).join(" · ");
  exampleFolders.replaceChildren(
    ...answer.example_folders.map((folder) => make("option", { value: folder })),
  );
  showTokens();
}

function showLegend() {
  for (const [verdict, [, meaning]] of Object.entries(VERDICTS)) {
    legend.append(make("span", {}, verdictMark(/** @type {Verdict} */ (verdict)), meaning));
  }
}

function listenToForm() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    startSearch(queryInForm());
  });
  textBox.addEventListener("input", () => {
    paintMarks();
    countTokensSoon();
    showShare();
    clearButton.hidden = !textBox.value && !found;
  });
  clearButton.addEventListener("click", () => {
    startSearch(emptyQuery());
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
}

/**
 * Return the index of the hit in which something happens, or -1.
 *
 * @param {Event} event
 */
function hitIndexOf(event) {
  const tile = event.target instanceof Element && event.target.closest(".hit");
  return tile instanceof HTMLElement ? Number(tile.dataset.index) : -1;
}

function listenToResults() {
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
}

function listenToDetail() {
  detailClose.addEventListener("click", () => detail.close());
  detailBack.addEventListener("click", () => turn(-1));
  detailOn.addEventListener("click", () => turn(1));
  detailLike.addEventListener("click", searchForMoreLikeThis);
  detailCopy.addEventListener("click", copyPath);
  detail.addEventListener("close", onDetailClosed);
  detail.addEventListener("click", (event) => {
    if (event.target === detail) detail.close(); // beside the dialog, on its backdrop
  });
}

/** Take pictures that are dropped or pasted anywhere; nothing dropped leads away from the page. */
function listenForPictures() {
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
}

showLegend();
listenToForm();
listenToResults();
listenToDetail();
listenForPictures();
addEventListener("keydown", onKey);
addEventListener("popstate", followAddress);
askAboutServer();
// The address may hold the server's token; it has become a cookie and need not stay to be seen.
const cleanAddress = addressOf(queryInAddress(), openInAddress()) + location.hash;
history.replaceState(history.state, "", cleanAddress);
followAddress();
if (layout.dataset.view === "start" && !isStacked()) textBox.focus();
