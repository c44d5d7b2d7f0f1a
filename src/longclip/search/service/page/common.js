// @ts-check
"use strict";

/*
 * The search page: a form, a grid of hits, and a view of one hit in full.
 *
 * File names, captions and messages are written by others: they reach the page as text, never as
 * HTML. What has been asked is in the address, so that a link, Back and Forward all work.
 *
 * common.js: types, settings, elements, state, and requests. query.js: what is asked. results.js:
 * what is found. detail.js: one hit in full. page.js: events, and the start. They are classic scripts,
 * run in this order, and share their names.
 */

// ---- Types: what the server answers (search_api.py), and what is asked ---------------------------

/**
 * @typedef {object} About
 * @property {string} model
 * @property {number} images
 * @property {number} context_length
 * @property {boolean} own_tokenizer its tokens are not CLIP's, of which 77 are nothing
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
 * @property {number | null} similarity null where nothing was asked
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
 * @typedef {"yes" | "some" | "open" | "no"} Verdict
 */

// ---- Settings ------------------------------------------------------------------------------------

const PAGE_SIZE = 48;
const MAX_HITS = 2000; // the server goes no further down
const SATISFIED = 1; // standard deviations above what this sentence scores on other images
const OUTSTANDING = 3; // what the best of 1,000 images reaches by chance
const UNSATISFIED = 0;
/** @type {Record<Verdict, [sign: string, meaning: string]>} */
const VERDICTS = {
  yes: ["✓", "far more than most"],
  some: ["›", "more than most"],
  open: ["~", "like most"],
  no: ["✕", "less than most"],
};
const CLIP_TOKENS = 77;
const TITLE_CHARACTERS = 60;
const WORDS_PER_TOKEN = 0.75; // of CLIP's tokens, in English
const DEFAULT_SHARE = 0.5;
const TYPING_PAUSE_MS = 160; // without a key, before tokens are counted
const SLIDING_PAUSE_MS = 250; // without a move, before the share is searched with
const SERVER_PAUSE_S = 5; // between two tries to reach a server that does not answer
const BUSY_PAUSE_S = 2; // between two tries where a busy server names no time
const MAX_UPLOAD_BYTES = 1_000_000;
const MAX_UPLOAD_SIDE = 1024; // pixels; models look at a few hundred
const UPLOADED_AS_IS = new Set(["image/jpeg", "image/png", "image/webp"]);
const FILTERS = /** @type {const} */ (["folder", "after", "before", "where"]);
const TEXT_FIELDS = /** @type {const} */ (["like", ...FILTERS]);
const KEYS_THAT_MOVE = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"]);
/** @type {Readonly<Query>} */
const EMPTY_QUERY = {
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

// ---- Elements ------------------------------------------------------------------------------------

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
const detailCaptionPart = byId("detail-caption-part", HTMLElement);
const detailFacts = byId("detail-facts", HTMLDListElement);

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

/** Form and results are above each other, as on a phone. */
const isStacked = () => !matchMedia("(min-width: 60rem)").matches;

// ---- Words and numbers ---------------------------------------------------------------------------

const numberFormat = new Intl.NumberFormat("en");

/** @param {number} amount @param {string} singular */
const count = (amount, singular, plural = `${singular}s`) =>
  `${numberFormat.format(amount)} ${amount === 1 ? singular : plural}`;

const characters = new Intl.Segmenter();

/**
 * Return the first characters of a text, as people count them: none is cut in its middle.
 *
 * @param {string} text @param {number} most
 */
const beginningOf = (text, most) =>
  Array.from(characters.segment(text), ({ segment }) => segment)
    .slice(0, most)
    .join("");

/** Return the verdict of sentence_scores.py. @param {number} score @returns {Verdict} */
function verdictOf(score) {
  if (score >= SATISFIED) return score >= OUTSTANDING ? "yes" : "some";
  return score < UNSATISFIED ? "no" : "open";
}

/**
 * Return a function that runs `action` once it has not been called for that long.
 *
 * @param {number} milliseconds @param {() => void} action
 */
function debounce(milliseconds, action) {
  /** @type {number | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}

// ---- Requests ------------------------------------------------------------------------------------

/** @param {string} id */
const thumbnailOf = (id) => `thumb/${encodeURIComponent(id)}`;

/** @param {string} id */
const originalOf = (id) => `image/${encodeURIComponent(id)}`;

/** Words of the page on a request that has failed, and when the server may be asked again. */
class RequestError extends Error {
  /**
   * @param {string} title
   * @param {string} message
   * @param {{ status?: number, retryAfter?: number }} more retryAfter in seconds
   */
  constructor(title, message, { status, retryAfter }) {
    super(message);
    this.title = title;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const NO_TOKEN = "Open the address that longclip serve has printed, with ?token=… in it.";
/** @type {Record<number, [title: string, message: string]>} for where the server says no more */
const WORDS_ON_STATUS = {
  401: ["This server asks for its token", NO_TOKEN],
  403: ["This server asks for its token", NO_TOKEN],
  413: ["Too large", "The picture or the text is larger than the server takes."],
  429: ["Many searches at once", "The server is busy."],
  503: ["Not ready yet", "The server is starting or stopping."],
  504: ["It took too long", "Try again, or make the description shorter."],
};

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
    const help = "It may have been stopped; start it again with longclip serve.";
    throw new RequestError("The server does not answer", help, { retryAfter: SERVER_PAUSE_S });
  }
  const { status, headers } = response;
  const [title, help] =
    WORDS_ON_STATUS[status] ??
    (status >= 500
      ? ["Something went wrong in the server", "Its log says more."]
      : ["This cannot be searched", `The server answered ${status}.`]);
  const { error, detail } = await response.json().catch(() => ({}));
  // Errors have OpenAI's shape; what stands between here and the server may have FastAPI's.
  const details = Array.isArray(detail) ? detail.map(({ msg }) => msg).join("; ") : detail;
  const isBusy = status === 429 || status === 503;
  throw new RequestError(title, String(error?.message || details || help), {
    status,
    retryAfter: isBusy ? Number(headers.get("Retry-After")) || BUSY_PAUSE_S : undefined,
  });
}

/** @param {unknown} error */
const isAbort = (error) => error instanceof DOMException && error.name === "AbortError";

/** @type {About | null} facts of the server, once it has answered */
let server = null;

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
