// @ts-check
"use strict";

// ---- One hit in full -----------------------------------------------------------------------------

let openedIndex = 0;

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
    ...hit.sentences.map((score, i) => {
      const verdict = verdictOf(score);
      const [sign, meaning] = VERDICTS[verdict];
      return make(
        "li",
        { className: verdict, title: `${meaning} (z = ${score.toFixed(1)})` },
        make("b", { ariaHidden: "true" }, sign),
        make(
          "span",
          { dir: "auto" },
          make("span", { className: "visually-hidden" }, `${meaning}: `),
          sentences[i] ?? "",
        ),
      );
    }),
  );
  detailFacts.replaceChildren(
    ...factsOf(hit).flatMap(([name, value]) =>
      value ? [make("dt", {}, name), make("dd", { dir: "auto" }, value)] : [],
    ),
  );
  if (!detail.open) detail.showModal();
}

/** Show the thumbnail at once, and the original when it is there. @param {Hit} hit */
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
 * Return name and value of what is known of an image; there is no value where it is not known.
 *
 * @param {Hit} hit @returns {[name: string, value: string | null | false | 0][]}
 */
function factsOf(hit) {
  const { taken, latitude, longitude } = hit;
  const date = new Date(taken ?? "");
  const isDate = !Number.isNaN(date.getTime());
  const isPlace = latitude !== null && longitude !== null;
  return [
    ["Taken", isDate ? date.toLocaleString("en", { dateStyle: "long", timeStyle: "short" }) : taken],
    ["Camera", hit.camera],
    ["Place", isPlace && `${degrees(latitude, "NS")}, ${degrees(longitude, "EW")}`],
    ["Size", hit.width && `${hit.width} × ${hit.height} pixels`],
    ["File", [hit.format, hit.bytes && sizeOf(hit.bytes)].filter(Boolean).join(", ")],
    ["Similarity", hit.similarity?.toFixed(3) ?? null],
    ["Path", hit.uri],
    ...hit.also.map((uri) => /** @type {[string, string]} */ (["Copy at", uri])),
  ];
}

/** @param {number} angle @param {string} signs */
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
  startSearch({ ...EMPTY_QUERY, folder, after, before, where, like: hit.id });
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
