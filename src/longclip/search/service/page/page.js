"use strict";

// ---- Settings ---------------------------------------------------------------------------------

const PAGE_SIZE = 48;
const MOST_HITS = 2000;     // the server goes no further down
const SATISFIED = 1;        // standard deviations above what this sentence scores on other images
const NOT_SATISFIED = 0;
const STATES = { yes: ["✓", "fits"], open: ["~", "unclear"], no: ["✕", "does not fit"] };   // as in sentence_scores.py
const CLIP_TOKENS = 77;
const EVEN = 0.5;           // what the text counts for beside a picture, if nothing else is said
const TYPING_PAUSE = 160;   // ms without a key before tokens are counted
const SLIDING_PAUSE = 250;  // ms without a move before the share is searched with
const SERVER_PAUSE = 5;     // s between two tries to reach a server that does not answer
const MAX_UPLOAD = 1_000_000;
const MAX_SIDE = 1024;      // pixels that a large picture is reduced to: models look at a few hundred
const UPLOADED_AS_IS = new Set(["image/jpeg", "image/png", "image/webp"]);

const $ = (id) => document.getElementById(id);
const box = $("text"), layout = $("layout"), grid = $("grid"), detail = $("detail");
const number = new Intl.NumberFormat("en");

let about = { model: "", images: null, context_length: null, example_folders: [] };
let tokens = null;          // the last count, and the text that it is for
let query = emptyQuery();   // what has been asked
let found = null;           // what was answered; `hits` grows when more are shown
let current = 0;            // the hit that has the focus, or had it last
let pointed = null;         // the hit whose sentences are painted behind the words
let opened = 0;             // the hit that the detail view shows
let searching = null;       // AbortController of the search under way
let retry = null;           // timer of the next try


// ---- Small tools ------------------------------------------------------------------------------

/** A new element; children are elements or strings, and strings stay text. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function count(amount, singular, plural = singular + "s") {
  return `${number.format(amount)} ${amount === 1 ? singular : plural}`;
}

function later(pause, action) {
  let timer;
  return () => { clearTimeout(timer); timer = setTimeout(action, pause); };
}

/** Where the server's `index`, which counts characters as Python does, is in a JavaScript string. */
function toUtf16(text, index) {
  let position = 0;
  for (const character of text) {
    if (index-- <= 0) break;
    position += character.length;
  }
  return position;
}

const isStacked = () => !matchMedia("(min-width: 60rem)").matches;


// ---- Talking to the server --------------------------------------------------------------------

class Trouble extends Error {
  constructor(title, message, { status = 0, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { title, status, retryAfter });
  }
}

async function ask(path, body, signal) {
  const request = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  };
  let answer;
  try {
    answer = await fetch(path, { ...request, signal });
    if (answer.ok) return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server does not answer",
      "It may have been stopped; start it again with longclip serve.", { retryAfter: SERVER_PAUSE });
  }
  throw troubleOf(answer, await saidIn(answer));
}

/** The words of an error, in OpenAI's shape or in FastAPI's. */
async function saidIn(answer) {
  const said = await answer.json().catch(() => ({}));
  if (said.error?.message) return String(said.error.message);
  if (Array.isArray(said.detail)) return said.detail.map((one) => one.msg).join("; ");
  return said.detail ? String(said.detail) : "";
}

function troubleOf(answer, said) {
  const status = answer.status;
  const trouble = (title, fallback, more = {}) => new Trouble(title, said || fallback, { status, ...more });
  const seconds = Number(answer.headers.get("Retry-After")) || 2;
  if (status === 429) return trouble("Many searches at once", "The server is busy.", { retryAfter: seconds });
  if (status === 503) return trouble("Not ready yet", "The server is starting or stopping.", { retryAfter: seconds });
  if (status === 401 || status === 403) {
    return trouble("This server asks for its token", "Open the address that longclip serve has printed, with ?token=… in it.");
  }
  if (status === 413) return trouble("Too large", "The picture or the text is larger than the server takes.");
  if (status === 504) return trouble("It took too long", "Try again, or make the description shorter.");
  if (status >= 500) return trouble("Something went wrong in the server", "Its log says more.");
  return trouble("This cannot be searched", `The server answered ${status}.`);
}


// ---- The query, the form and the address ------------------------------------------------------

function emptyQuery() {
  return { text: "", without: [], like: "", image: "", imageName: "", share: EVEN, folder: "", after: "", before: "", where: "" };
}

const isMixed = (asked) => Boolean(asked.text.trim() && (asked.imageName || asked.like));
const isEmpty = (asked) => !asked.text.trim() && !asked.without.length && !asked.like && !asked.image;
const FILTERS = ["folder", "after", "before", "where"];

function queryInForm() {
  const typed = Object.fromEntries(FILTERS.map((name) => [name, $(name).value.trim()]));
  const without = $("without").value.split(";").map((one) => one.trim()).filter(Boolean);
  return { ...query, ...typed, text: box.value, without, share: $("share").value / 100 };
}

function fillForm(asked) {
  box.value = asked.text;
  $("without").value = asked.without.join("; ");
  for (const name of FILTERS) $(name).value = asked[name];
  if (FILTERS.some((name) => asked[name])) $("filters").open = true;
  $("share").value = Math.round(100 * asked.share);
  showPicture(asked);
  noteFilters();
  countTokens();
}

/** A link says everything but a dropped picture's pixels: those stay in this tab's history. */
function addressOf(asked, open = "") {
  const words = new URLSearchParams();
  if (asked.text.trim()) words.set("q", asked.text);
  for (const one of asked.without) words.append("not", one);
  for (const name of ["like", ...FILTERS]) if (asked[name]) words.set(name, asked[name]);
  if (asked.imageName) words.set("picture", asked.imageName);
  if (asked.share !== EVEN) words.set("share", asked.share);
  if (open) words.set("open", open);
  return words.size ? `?${words}` : "./";
}

function queryInAddress() {
  const words = new URLSearchParams(location.search);
  const asked = { ...emptyQuery(), text: words.get("q") ?? "", without: words.getAll("not") };
  for (const name of ["like", ...FILTERS]) asked[name] = words.get(name) ?? "";
  asked.imageName = words.get("picture") ?? "";
  asked.image = asked.imageName ? history.state?.image ?? "" : "";
  const share = Number(words.get("share") ?? EVEN);
  asked.share = share >= 0 && share <= 1 ? share : EVEN;
  return withShare(asked);
}

/** A share is kept only where there is something to share. */
function withShare(asked) {
  return isMixed(asked) ? asked : { ...asked, share: EVEN };
}

const openInAddress = () => new URLSearchParams(location.search).get("open") ?? "";
const stateOf = (asked) => ({ image: asked.image });
const sameQuery = (one, other) => JSON.stringify(one) === JSON.stringify(other);

const missingPicture = (asked) => `The picture “${asked.imageName}” is not part of the link. Drop it here again to search with it.`;

/** Ask for something new, as a step of the history. */
function go(wanted) {
  const asked = withShare(wanted);
  if (isEmpty(asked) && FILTERS.some((name) => asked[name])) {
    sayOnStart("Describe the picture first, or add one: filters alone do not say which images come first.");
    box.focus();
    return;
  }
  const step = sameQuery(asked, query) ? "replaceState" : "pushState";
  history[step](stateOf(asked), "", addressOf(asked));
  fillForm(asked);
  search(asked);
  if (isStacked() && !isEmpty(asked) && document.activeElement !== $("share")) {
    document.activeElement.blur();   // puts a phone's keyboard away
    $("results").scrollIntoView();
  }
}

/** Follow the address, after Back, Forward or opening a link. */
function follow() {
  const asked = queryInAddress();
  if (found && sameQuery(asked, query)) {
    showDetailOf(openInAddress());
    return;
  }
  detail.close();
  fillForm(asked);
  search(asked);
}


// ---- Description: tokens, and what is painted behind the words ---------------------------------

async function countTokens() {
  const text = box.value;
  if (!text.trim()) {
    tokens = null;
  } else {
    const answer = await ask("v1/tokens", { text }).catch(() => null);
    if (box.value !== text) return;   // a later count is on its way
    tokens = answer && { ...answer, text };
  }
  showTokens();
  paint();
}

function showTokens() {
  const limit = tokens?.context_length ?? about.context_length;
  const used = tokens?.count ?? 0;
  const shown = Math.max(used, limit ?? 0, 1);
  $("meter").style.setProperty("--part", used / shown);
  $("meter").style.setProperty("--seventy-seven", CLIP_TOKENS / shown);
  $("meter").querySelector("b").hidden = !(limit > CLIP_TOKENS || used > CLIP_TOKENS);
  $("tokens").replaceChildren(...wordsOnTokens(used, limit));
}

function wordsOnTokens(used, limit) {
  if (!limit) return [tokens === null && box.value.trim() ? "Tokens are counted when the server answers." : "\u00a0"];
  if (!used) return [`This model reads up to ${count(limit, "token")} at once, about ${number.format(Math.round(limit * 0.75 / 10) * 10)} words.`];
  const words = [make("strong", {}, `${number.format(used)} of ${count(limit, "token")}`)];
  if (used > limit) words.push(". Longer than the model reads at once: it is searched in parts, sentence by sentence, and they are combined.");
  else if (tokens.cut_77 != null) words.push(`. A CLIP of ${CLIP_TOKENS} tokens would stop at “${tail(tokens.text, tokens.cut_77)}”.`);
  return words;
}

/** The last words before a cut. */
function tail(text, index) {
  const words = text.slice(0, toUtf16(text, index)).trim().split(/\s+/);
  return (words.length > 3 ? "… " : "") + words.slice(-3).join(" ");
}

const countTokensSoon = later(TYPING_PAUSE, countTokens);

/** Paint the sentences that this hit satisfies, or of no hit, until another is pointed at. */
function pointAt(hit) {
  pointed = hit;
  paint();
}

/** Paint marks behind the words: where texts are cut, and the sentences that a hit satisfies. */
function paint() {
  const text = box.value;
  const isCounted = tokens?.text === text;
  const cuts = isCounted ? cutsOf(tokens) : [];
  const ranges = cuts.map((cut) => ({ start: cut.at, end: text.length, state: cut.state }));
  if (pointed && text === query.text) ranges.push(...sentenceRanges(text, found.sentences, pointed.sentences));
  $("mirror").replaceChildren(...painted(text, ranges, cuts), "\u200b");
}

function cutsOf({ text, cut, cut_77, context_length }) {
  const cuts = [];
  if (cut_77 != null && context_length > CLIP_TOKENS) cuts.push({ at: toUtf16(text, cut_77), state: "after-77", label: CLIP_TOKENS });
  if (cut != null) cuts.push({ at: toUtf16(text, cut), state: "after-limit", label: context_length });
  return cuts;
}

/** Where each sentence stands in the text; the server gives them with their white space collapsed. */
function sentenceRanges(text, sentences, scores) {
  const ranges = [];
  let from = 0;
  sentences.forEach((sentence, i) => {
    const words = sentence.split(/\s+/).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const pattern = new RegExp(words.join("\\s+"), "g");
    pattern.lastIndex = from;
    const place = pattern.exec(text);
    if (!place) return;
    from = pattern.lastIndex;
    ranges.push({ start: place.index, end: from, state: stateOfScore(scores[i]) });
  });
  return ranges;
}

/** The text in spans, each with the states of all ranges that it lies in. */
function painted(text, ranges, cuts) {
  const edges = [0, text.length, ...ranges.flatMap(({ start, end }) => [start, end])];
  const places = [...new Set(edges)].sort((a, b) => a - b);
  return places.flatMap((start, i) => {
    const marks = cuts.filter(({ at }) => at === start).map(cutMark);
    const end = places[i + 1];
    if (end === undefined) return marks;
    const states = ranges.filter((range) => range.start <= start && range.end >= end).map(({ state }) => state);
    return [...marks, make("span", { className: states.join(" ") }, text.slice(start, end))];
  });
}

function cutMark({ label }) {
  const mark = make("span", { className: "cut" });
  mark.dataset.label = label;
  return mark;
}

function stateOfScore(score) {
  if (score >= SATISFIED) return "yes";
  return score < NOT_SATISFIED ? "no" : "open";
}


// ---- A picture in the query --------------------------------------------------------------------

async function takePicture(file) {
  try {
    const image = await dataUrlOf(file);
    go({ ...queryInForm(), image, imageName: file.name || "pasted picture", like: "" });
  } catch {
    sayOnStart(`“${file.name}” cannot be read as a picture here. JPEG, PNG and WebP can.`);
  }
}

/** A picture as a data URL; large ones are reduced here, before they travel. */
async function dataUrlOf(file) {
  const bitmap = await createImageBitmap(file);
  if (file.size <= MAX_UPLOAD && UPLOADED_AS_IS.has(file.type)) return readAsDataUrl(file);
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = make("canvas", {
    width: Math.max(1, Math.round(bitmap.width * scale)),
    height: Math.max(1, Math.round(bitmap.height * scale)),
  });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
}

function readAsDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

function showPicture({ image, imageName, like }) {
  const isThere = Boolean(image || like);
  $("picture").hidden = !isThere;
  showShare();
  $("clear").hidden = !isThere && !box.value && !found;
  if (!isThere) return;
  $("picture-preview").src = image || thumbnailOf(like);
  $("picture-name").textContent = image ? imageName : "More like this image";
  $("picture-kind").textContent = image ? "Images like this picture, and like the text" : "Write what should be different";
}

function showShare() {
  const share = Number($("share").value);
  $("mix").hidden = $("picture").hidden || !box.value.trim();
  $("share").ariaValueText = `text ${share} %, picture ${100 - share} %`;
}

function pictureAmong(files) {
  return [...(files ?? [])].find((file) => file.type.startsWith("image/"));
}


// ---- Searching --------------------------------------------------------------------------------

async function search(asked) {
  stopSearching();
  query = asked;
  found = pointed = null;
  current = 0;
  document.title = asked.text.trim() ? `${asked.text.trim().slice(0, 60)} · longclip` : "longclip";
  clearMessage();
  layout.dataset.view = isEmpty(asked) ? "start" : "results";
  if (isEmpty(asked)) {
    grid.replaceChildren();
    if (asked.imageName) sayOnStart(missingPicture(asked));
    return;
  }
  showGhosts();
  const answer = await askFor(asked, 0);
  if (!answer) return;
  found = answer;
  grid.replaceChildren();
  showFound(answer);
  showHits(answer.hits);
  showDetailOf(openInAddress());
}

async function showMore() {
  const first = found.hits.length;
  const known = new Set(found.hits.map((hit) => hit.id));
  const answer = await askFor(query, first);
  if (!answer) return;
  const fresh = answer.hits.filter((hit) => !known.has(hit.id));
  found.hits.push(...fresh);
  found.isComplete = answer.hits.length < PAGE_SIZE;
  showFound(found);
  showHits(fresh);
  if (fresh.length) focusHit(first);
}

/** The server's answer, or nothing where it was not to be had (which the page then says). */
async function askFor(asked, offset) {
  stopSearching();
  const mine = searching = new AbortController();
  $("results").setAttribute("aria-busy", "true");
  try {
    return await ask("v1/search", bodyOf(asked, offset), mine.signal);
  } catch (error) {
    if (error.name !== "AbortError") showTrouble(error);
    return null;
  } finally {
    if (searching === mine) $("results").removeAttribute("aria-busy");
  }
}

function bodyOf(asked, offset) {
  const body = { text: asked.text.trim(), not: asked.without, k: PAGE_SIZE, offset, why: true };
  for (const name of ["like", "image", ...FILTERS]) if (asked[name]) body[name] = asked[name];
  if (isMixed(asked)) body.text_share = asked.share;
  return body;
}

function stopSearching() {
  searching?.abort();
  clearInterval(retry);
}


// ---- Results ----------------------------------------------------------------------------------

const thumbnailOf = (id) => `thumb/${encodeURIComponent(id)}`;
const originalOf = (id) => `image/${encodeURIComponent(id)}`;

function showFound({ hits, total, took_ms, sentences, notes, isComplete }) {
  clearMessage();
  const among = total == null ? "" : ` of ${count(total, "image")}`;
  $("status").textContent = hits.length ? `Best ${number.format(hits.length)}${among}, in ${Math.max(1, Math.round(took_ms))} ms` : "No images found";
  $("legend").hidden = !sentences?.length || !hits.length;
  const all = [...(notes ?? []), ...(query.imageName && !query.image ? [missingPicture(query)] : [])];
  $("notes").hidden = !all.length;
  $("notes").replaceChildren(...all.map((note) => make("li", {}, note)));
  $("more").hidden = isComplete || hits.length < PAGE_SIZE || hits.length >= Math.min(total ?? Infinity, MOST_HITS);
  if (!hits.length) showNothing();
}

function showHits(hits) {
  grid.classList.remove("ghosts");
  const first = grid.children.length;
  grid.append(...hits.map((hit, i) => tile(hit, first + i)));
  if (!first && hits.length) grid.querySelector(".hit").tabIndex = 0;
}

function tile(hit, index) {
  const button = make("button", { type: "button", className: "hit", tabIndex: -1, ariaLabel: labelOf(hit, index) });
  button.dataset.index = index;
  button.append(frame(hit), under(hit));
  if (hit.sentences?.length) button.append(marks(hit.sentences));
  const item = make("li", {}, button);
  item.style.setProperty("--shape", shapeOf(hit));
  return item;
}

/** Width by height; panoramas and towers are cropped to what a row can hold. */
function shapeOf({ width, height }) {
  return width && height ? Math.min(2.2, Math.max(0.6, width / height)).toFixed(3) : 1;
}

function labelOf(hit, index) {
  const satisfied = hit.sentences?.filter((score) => score >= SATISFIED).length;
  const why = hit.sentences?.length ? `, ${STATES.yes[1]} ${satisfied} of ${count(hit.sentences.length, "sentence")}` : "";
  return `${index + 1}. ${hit.name}, similarity ${hit.similarity.toFixed(3)}${why}`;
}

function frame(hit) {
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", draggable: false });
  const holder = make("span", { className: "frame" }, image);
  image.addEventListener("error", () => image.replaceWith(make("span", { className: "lost" }, "No preview any more")));
  image.src = thumbnailOf(hit.id);
  return holder;
}

function under(hit) {
  const copies = hit.also?.length ? [make("span", {}, `+${count(hit.also.length, "copy", "copies")}`)] : [];
  return make("span", { className: "under" },
    make("bdi", { className: "name" }, hit.name), ...copies,
    make("span", { className: "similarity" }, hit.similarity.toFixed(3)));
}

function marks(scores) {
  return make("span", { className: "marks" }, ...scores.map((score) => make("i", { className: `mark ${stateOfScore(score)}` })));
}

function showGhosts() {
  $("status").textContent = "Searching …";
  for (const id of ["legend", "notes", "more"]) $(id).hidden = true;
  grid.classList.add("ghosts");
  grid.replaceChildren(...Array.from({ length: 12 }, (_, i) => {
    const ghost = make("li", { className: "ghost", ariaHidden: "true" }, make("span", { className: "frame" }));
    ghost.style.setProperty("--shape", [1.5, 1, 0.75, 1.33][i % 4]);
    return ghost;
  }));
}


// ---- Messages: nothing found, errors ------------------------------------------------------------

function clearMessage() {
  clearInterval(retry);
  $("message").hidden = true;
  $("message").replaceChildren();
  $("where").removeAttribute("aria-invalid");
}

function say(title, words, ...buttons) {
  const actions = buttons.length ? [make("div", { className: "actions" }, ...buttons)] : [];
  $("message").hidden = false;
  $("message").replaceChildren(make("h2", {}, title), ...words.map((line) => make("p", {}, line)), ...actions);
}

const sayOnStart = (words) => say("One thing first", [words]);

function action(words, act) {
  const button = make("button", { type: "button", className: "button small" }, words);
  button.addEventListener("click", act);
  return button;
}

function showNothing() {
  const isFiltered = FILTERS.some((name) => query[name]);
  if (about.images === 0) {
    say("There are no images yet", ["Put some into this database: longclip index FOLDER --db …"]);
  } else if (isFiltered) {
    say("No image passes the filters", ["The description alone never leaves images out; the filters do."],
      action("Remove the filters", () => go({ ...query, folder: "", after: "", before: "", where: "" })));
  } else {
    say("Nothing found", ["Try other words, or another picture."]);
  }
}

function showTrouble(trouble) {
  $("status").textContent = "";
  if (grid.classList.contains("ghosts")) grid.replaceChildren();
  const again = action("Try again", tryAgain);
  if (trouble.retryAfter) {
    countDown(trouble, again);
    return;
  }
  say(trouble.title ?? "Something went wrong on this page", [trouble.message], again);
  if (trouble.status === 400 && query.where) {
    $("where").setAttribute("aria-invalid", "true");
    $("filters").open = true;
  }
}

function countDown(trouble, again) {
  let seconds = Math.ceil(trouble.retryAfter);
  const clock = make("span", { ariaHidden: "true" });   // not to be read out every second
  const tick = () => { clock.textContent = seconds > 0 ? ` in ${seconds} s` : " now"; };
  tick();
  say(trouble.title, [trouble.message, make("span", {}, "The search is repeated by itself", clock, ".")], again);
  retry = setInterval(() => {
    seconds -= 1;
    tick();
    if (seconds <= 0) tryAgain();
  }, 1000);
}

function tryAgain() {
  clearInterval(retry);
  if (!about.context_length) learnAbout();
  if (found) showMore(); else search(query);
}


// ---- Detail -----------------------------------------------------------------------------------

function openDetail(index) {
  const id = found.hits[index].id;
  history.pushState({ ...stateOf(query), isOpened: true }, "", addressOf(query, id));
  showDetail(index);
}

/** Go to a neighbour without a step of the history: Back closes, however far one has leafed. */
function turn(step) {
  const index = opened + step;
  if (!found.hits[index]) return;
  history.replaceState(history.state, "", addressOf(query, found.hits[index].id));
  showDetail(index);
}

function showDetailOf(id) {
  const index = id && found ? found.hits.findIndex((hit) => hit.id === id) : -1;
  if (index >= 0) showDetail(index); else detail.close();
}

function showDetail(index) {
  const hit = found.hits[index];
  opened = index;
  showOriginal(hit);
  $("detail-name").textContent = hit.name;
  $("detail-caption").textContent = hit.caption ?? "";
  $("detail-told").hidden = !hit.caption;
  $("detail-original").href = originalOf(hit.id);
  $("detail-copy").textContent = "Copy path";
  $("detail-copy").hidden = !navigator.clipboard;
  $("detail-back").disabled = index === 0;
  $("detail-on").disabled = index === found.hits.length - 1;
  showWhy(hit);
  $("detail-facts").replaceChildren(...factsOf(hit).flatMap(([name, value]) => [
    make("dt", {}, name), make("dd", { dir: "auto" }, value),
  ]));
  if (!detail.open) detail.showModal();
}

/** The thumbnail at once, the original when it is there. */
function showOriginal(hit) {
  const image = $("detail-image"), gone = $("detail-gone");
  const original = new Image();
  gone.hidden = true;
  image.style.setProperty("--natural", hit.width || 256);   // small ones are not blown up to a blur
  image.src = thumbnailOf(hit.id);
  image.alt = hit.caption || hit.name;
  const isStillShown = () => found?.hits[opened] === hit;
  original.onload = () => { if (isStillShown()) image.src = original.src; };
  original.onerror = () => {
    if (!isStillShown()) return;
    gone.hidden = false;
    gone.textContent = "The original cannot be read any more; this is its preview.";
  };
  original.src = originalOf(hit.id);
}

function showWhy(hit) {
  $("detail-why").hidden = !hit.sentences?.length;
  $("detail-sentences").replaceChildren(...(hit.sentences ?? []).map((score, i) => {
    const state = stateOfScore(score);
    const [sign, words] = STATES[state];
    const mark = make("b", { ariaHidden: "true" }, sign);
    const spoken = make("span", { className: "visually-hidden" }, `${words}: `);
    return make("li", { className: state, title: `${words} (z = ${score.toFixed(1)})` },
      mark, make("span", { dir: "auto" }, spoken, found.sentences[i]));
  }));
}

/** Name and value of everything that is known of an image. */
function factsOf(hit) {
  const facts = [
    ["Taken", hit.taken && dateOf(hit.taken)],
    ["Camera", hit.camera],
    ["Place", hit.latitude != null && hit.longitude != null && placeOf(hit)],
    ["Size", hit.width && `${hit.width} × ${hit.height} pixels`],
    ["File", [hit.format, hit.bytes && sizeOf(hit.bytes)].filter(Boolean).join(", ")],
    ["Similarity", hit.similarity.toFixed(3)],
    ["Path", hit.uri],
    ...(hit.also ?? []).map((uri) => ["Copy at", uri]),
  ];
  return facts.filter(([, value]) => value);
}

function dateOf(iso) {
  const date = new Date(iso);
  return isNaN(date) ? iso : date.toLocaleString("en", { dateStyle: "long", timeStyle: "short" });
}

function placeOf({ latitude, longitude }) {
  const part = (degrees, signs) => `${Math.abs(degrees).toFixed(4)}° ${signs[degrees < 0 ? 1 : 0]}`;
  return `${part(latitude, "NS")}, ${part(longitude, "EW")}`;
}

function sizeOf(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  let step = 0;
  while (bytes >= 1000 && step < units.length - 1) { bytes /= 1000; step += 1; }
  return `${bytes.toFixed(step && bytes < 100 ? 1 : 0)} ${units[step]}`;
}

function detailClosed() {
  if (openInAddress()) {
    if (history.state?.isOpened) history.back();
    else history.replaceState(stateOf(query), "", addressOf(query));
  }
  if (found) focusHit(opened);
}

function moreLikeThis() {
  const like = found.hits[opened].id;
  const filters = Object.fromEntries(FILTERS.map((name) => [name, query[name]]));
  go({ ...emptyQuery(), ...filters, like });
  detail.close();
  scrollTo({ top: 0 });
}

async function copyPath() {
  const copied = await navigator.clipboard.writeText(found.hits[opened].uri).then(() => true, () => false);
  $("detail-copy").textContent = copied ? "Copied" : "Not allowed";
}


// ---- Keyboard and focus -------------------------------------------------------------------------

function setCurrent(index) {
  const hits = grid.querySelectorAll(".hit");
  if (hits[current]) hits[current].tabIndex = -1;
  current = index;
  if (hits[index]) hits[index].tabIndex = 0;
  return hits[index];
}

const focusHit = (index) => setCurrent(index)?.focus();

/** The hit that an arrow key leads to: the next one, or the nearest in the row above or below. */
function neighbour(key) {
  const hits = [...grid.querySelectorAll(".hit")];
  if (key === "Home") return 0;
  if (key === "End") return hits.length - 1;
  if (key === "ArrowRight") return Math.min(current + 1, hits.length - 1);
  if (key === "ArrowLeft") return Math.max(current - 1, 0);
  return inNextRow(hits, key === "ArrowDown" ? 1 : -1);
}

function inNextRow(hits, step) {
  const middle = (hit) => { const { left, width } = hit.getBoundingClientRect(); return left + width / 2; };
  const top = (index) => hits[index].parentElement.offsetTop;
  let index = current;
  while (hits[index] && top(index) === top(current)) index += step;
  if (!hits[index]) return current;
  const row = hits.map((_, i) => i).filter((i) => top(i) === top(index));
  const distance = (i) => Math.abs(middle(hits[i]) - middle(hits[current]));
  return row.reduce((best, i) => (distance(i) < distance(best) ? i : best));
}

const MOVES = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"]);

function onKey(event) {
  const target = event.target;
  const isTyping = target.matches("input, textarea");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !detail.open) {
    event.preventDefault();
    $("form").requestSubmit();
  } else if (event.ctrlKey || event.metaKey || event.altKey) {
    return;
  } else if (detail.open) {
    if (event.key === "ArrowLeft") turn(-1);
    if (event.key === "ArrowRight") turn(1);
  } else if (event.key === "/" && !isTyping) {
    event.preventDefault();
    box.focus();
  } else if (event.key === "Escape" && isTyping) {
    target.blur();
  } else if (MOVES.has(event.key) && found?.hits.length && (target.matches(".hit") || target === document.body)) {
    event.preventDefault();
    focusHit(target.matches(".hit") ? neighbour(event.key) : current);
  }
}

const hitOf = (event) => found?.hits[event.target.closest?.(".hit")?.dataset.index];


// ---- Start --------------------------------------------------------------------------------------

async function learnAbout() {
  try {
    about = await ask("v1/about");
  } catch (trouble) {
    if (trouble.status === 401 || trouble.status === 403) showTrouble(trouble);
    return;
  }
  $("about").textContent = [count(about.images, "image"), about.model].filter(Boolean).join(" · ");
  $("folders").replaceChildren(...(about.example_folders ?? []).map((folder) => make("option", { value: folder })));
  showTokens();
}

function showLegend() {
  $("legend").append(...Object.entries(STATES).map(([state, [, words]]) =>
    make("span", {}, make("i", { className: `mark ${state}` }), words)));
}

function noteFilters() {
  const used = FILTERS.filter((name) => $(name).value.trim()).length;
  $("filters-count").textContent = used ? ` (${used} in use)` : "";
}

function listenToForm() {
  $("form").addEventListener("submit", (event) => { event.preventDefault(); go(queryInForm()); });
  $("clear").addEventListener("click", () => { go(emptyQuery()); box.focus(); });
  $("picture-remove").addEventListener("click", () => go({ ...queryInForm(), image: "", imageName: "", like: "" }));
  $("file").addEventListener("change", () => {
    const file = pictureAmong($("file").files);
    $("file").value = "";   // the same picture may be chosen again
    if (file) takePicture(file);
  });
  $("filters").addEventListener("input", noteFilters);
  $("share").addEventListener("input", showShare);
  $("share").addEventListener("change", later(SLIDING_PAUSE, () => go(queryInForm())));
  box.addEventListener("input", () => { paint(); countTokensSoon(); showShare(); $("clear").hidden = !box.value && !found; });
}

function listenToResults() {
  grid.addEventListener("click", (event) => {
    const hit = event.target.closest(".hit");
    if (hit) openDetail(Number(hit.dataset.index));
  });
  for (const name of ["pointerover", "focusin"]) {
    grid.addEventListener(name, (event) => { const hit = hitOf(event); if (hit) pointAt(hit); });
  }
  for (const name of ["pointerleave", "focusout"]) grid.addEventListener(name, () => pointAt(null));
  grid.addEventListener("focusin", (event) => { if (event.target.matches(".hit")) setCurrent(Number(event.target.dataset.index)); });
  $("more").addEventListener("click", showMore);
}

function listenToDetail() {
  $("detail-close").addEventListener("click", () => detail.close());
  $("detail-back").addEventListener("click", () => turn(-1));
  $("detail-on").addEventListener("click", () => turn(1));
  $("detail-like").addEventListener("click", moreLikeThis);
  $("detail-copy").addEventListener("click", copyPath);
  detail.addEventListener("close", detailClosed);
  detail.addEventListener("click", (event) => { if (event.target === detail) detail.close(); });
}

/** Pictures may be dropped or pasted anywhere; nothing that is dropped leads away from the page. */
function listenForPictures() {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const isOver = (over) => { $("drop").hidden = !over; };
  addEventListener("dragover", (event) => { if (hasFiles(event)) { event.preventDefault(); isOver(true); } });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) isOver(false); });
  addEventListener("drop", (event) => {
    isOver(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    const file = pictureAmong(event.dataTransfer.files);
    if (file) takePicture(file); else sayOnStart("That is no picture. JPEG, PNG and WebP can be dropped here.");
  });
  addEventListener("paste", (event) => {
    const file = pictureAmong(event.clipboardData?.files);
    if (file) { event.preventDefault(); takePicture(file); }
  });
}

showLegend();
listenToForm();
listenToResults();
listenToDetail();
listenForPictures();
addEventListener("keydown", onKey);
addEventListener("popstate", follow);
learnAbout();
// The address may hold the server's token; it has become a cookie and need not stay to be seen.
history.replaceState(history.state, "", addressOf(queryInAddress(), openInAddress()) + location.hash);
follow();
if (layout.dataset.view === "start" && !isStacked()) box.focus();
