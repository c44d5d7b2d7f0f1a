// @ts-check
"use strict";

// ---- The query: in the form, in the address, in the history --------------------------------------

/** @param {Query} asked */
const isEmpty = (asked) => !asked.text.trim() && !asked.without.length && !asked.like && !asked.image;

/** @param {Query} asked */
const isFiltered = (asked) => FILTERS.some((name) => asked[name]);

/** Return whether there is anything to be cleared. @param {Query} asked */
const isAsked = (asked) => !isEmpty(asked) || isFiltered(asked);

/** @param {Query} asked */
const isMixed = (asked) => Boolean(asked.text.trim() && (asked.imageName || asked.like));

/** Drop the share of a query in which there is nothing to share. @param {Query} asked */
const normalized = (asked) => (isMixed(asked) ? asked : { ...asked, share: DEFAULT_SHARE });

/** @param {Query} one @param {Query} other */
const isSameQuery = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** @returns {Query} */
function queryInForm() {
  const without = withoutField.value.split(";").map((one) => one.trim());
  const asked = {
    ...query,
    text: textBox.value,
    without: without.filter(Boolean),
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
  for (const name of TEXT_FIELDS) if (asked[name]) parameters.set(name, asked[name]);
  if (asked.imageName) parameters.set("picture", asked.imageName);
  if (asked.share !== DEFAULT_SHARE) parameters.set("share", String(asked.share));
  if (open) parameters.set("open", open);
  return parameters.size ? `?${parameters}` : "./";
}

function queryInAddress() {
  const parameters = new URLSearchParams(location.search);
  const imageName = parameters.get("picture") ?? "";
  const share = Number(parameters.get("share") ?? DEFAULT_SHARE);
  const asked = {
    ...EMPTY_QUERY,
    text: parameters.get("q") ?? "",
    without: parameters.getAll("not"),
    image: imageName && (history.state?.image ?? ""),
    imageName,
    share: share >= 0 && share <= 1 ? share : DEFAULT_SHARE,
  };
  for (const name of TEXT_FIELDS) asked[name] = parameters.get(name) ?? "";
  return normalized(asked);
}

/** Return the id of the hit that the address shows in full, or nothing. */
const openInAddress = () => new URLSearchParams(location.search).get("open") ?? "";

/** @param {Query} asked */
const historyStateOf = (asked) => ({ image: asked.image });

/** Search for something new, as a step of the history. @param {Query} wanted */
function startSearch(wanted) {
  const asked = normalized(wanted);
  const step = isSameQuery(asked, query) ? "replaceState" : "pushState";
  history[step](historyStateOf(asked), "", addressOf(asked));
  fillForm(asked);
  search(asked);
  const focused = document.activeElement;
  if (isStacked() && isAsked(asked) && focused !== shareSlider) {
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

/** @type {(TokenCount & { text: string }) | null} the last count, and the text that it is of */
let tokens = null;

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

/**
 * Return where the server's index is in a JavaScript string: Python counts characters, JavaScript
 * UTF-16 code units.
 *
 * @param {string} text @param {number} index
 */
const toUtf16 = (text, index) => [...text].slice(0, index).join("").length;

function showTokens() {
  const limit = tokens?.context_length ?? server?.context_length ?? 0;
  const used = tokens?.count ?? 0;
  const whole = Math.max(used, limit, 1);
  tokenMeter.style.setProperty("--part", String(used / whole));
  tokenMeter.style.setProperty("--seventy-seven", String(CLIP_TOKENS / whole));
  const line = tokenMeter.querySelector("b");
  if (line) line.hidden = whole <= CLIP_TOKENS || server?.own_tokenizer !== false;
  tokenWords.replaceChildren(...wordsOnTokens(limit));
}

/** @param {number} limit 0 where it is not known @returns {(Node | string)[]} */
function wordsOnTokens(limit) {
  if (!limit) return [textBox.value.trim() ? "Tokens are counted when the server answers." : "\u00a0"];
  if (!tokens) {
    const most = `This model reads up to ${count(limit, "token")} at once`;
    if (server?.own_tokenizer !== false) return [`${most}.`];
    const words = numberFormat.format(Math.round((limit * WORDS_PER_TOKEN) / 10) * 10);
    return [`${most}, about ${words} words.`];
  }
  const amount = `${numberFormat.format(tokens.count)} of ${count(limit, "token")}`;
  let more = "";
  if (tokens.count > limit) {
    more =
      ". Longer than the model reads at once: it is searched in parts, sentence by sentence, and they are combined.";
  } else if (tokens.cut_77 !== null) {
    const words = tokens.text.slice(0, toUtf16(tokens.text, tokens.cut_77)).trim().split(/\s+/);
    const tail = (words.length > 3 ? "… " : "") + words.slice(-3).join(" ");
    more = `. A CLIP of ${CLIP_TOKENS} tokens would stop at “${tail}”.`;
  }
  return [make("strong", {}, amount), more];
}

/** @type {Hit | null} the hit whose sentences are painted behind the words */
let pointedHit = null;

/**
 * Paint the sentences that this hit satisfies, or of no hit, until another is pointed at.
 *
 * @param {Hit | null} hit
 */
function pointAt(hit) {
  pointedHit = hit;
  paintMarks();
}

/**
 * Mark where models stop reading, and the sentences that the hit pointed at satisfies.
 *
 * The marks lie in a copy of the text behind the words: a text area holds text alone.
 */
function paintMarks() {
  const text = textBox.value;
  /** @type {{ start: number, state: string, label: number }[]} */
  const cuts = [];
  if (tokens?.text === text) {
    const { cut, cut_77, context_length } = tokens;
    if (cut_77 !== null && context_length > CLIP_TOKENS) {
      cuts.push({ start: toUtf16(text, cut_77), state: "after-77", label: CLIP_TOKENS });
    }
    if (cut !== null) {
      cuts.push({ start: toUtf16(text, cut), state: "after-limit", label: context_length });
    }
  }
  const marks = cuts.map(({ start, state }) => ({ start, end: text.length, state }));
  if (pointedHit && found && text === query.text) {
    marks.push(...sentenceMarks(text, found.sentences, pointedHit.sentences));
  }
  // Spans from edge to edge, each with the class names of all marks that it lies in.
  const edges = new Set([0, text.length, ...marks.flatMap(({ start, end }) => [start, end])]);
  const places = [...edges].sort((a, b) => a - b);
  const spans = places.flatMap((start, i) => {
    const labels = cuts
      .filter((cut) => cut.start === start)
      .map(({ label }) => {
        const element = make("span", { className: "cut" });
        element.dataset.label = String(label);
        return element;
      });
    const end = places[i + 1];
    if (end === undefined) return labels;
    const around = marks.filter((mark) => mark.start <= start && mark.end >= end);
    const className = around.map(({ state }) => state).join(" ");
    return [...labels, make("span", { className }, text.slice(start, end))];
  });
  mirror.replaceChildren(...spans, "\u200b"); // gives a last, empty line its height
}

/**
 * Find each sentence in the text; the server gives them with their white space collapsed.
 *
 * @param {string} text @param {string[]} sentences @param {number[]} scores
 */
function sentenceMarks(text, sentences, scores) {
  let from = 0;
  return sentences.flatMap((sentence, i) => {
    const words = sentence.split(/\s+/).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const pattern = new RegExp(words.join("\\s+"), "g");
    pattern.lastIndex = from;
    const place = pattern.exec(text);
    if (!place) return [];
    from = pattern.lastIndex;
    return [{ start: place.index, end: from, state: verdictOf(scores[i] ?? 0) }];
  });
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
 * @param {File} file @returns {Promise<string>}
 */
async function dataUrlOf(file) {
  const bitmap = await createImageBitmap(file); // also of what travels as it is: it has to be a picture
  if (file.size <= MAX_UPLOAD_BYTES && UPLOADED_AS_IS.has(file.type)) {
    return new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(String(reader.result));
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(file);
    });
  }
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

/** @param {Query} asked */
function showPicture(asked) {
  const { image, imageName, like } = asked;
  const isThere = Boolean(image || like);
  picture.hidden = !isThere;
  showShare();
  clearButton.hidden = !isAsked(asked);
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
