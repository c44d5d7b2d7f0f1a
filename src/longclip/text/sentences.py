"""Splitting a caption into sentences.

The splitter is a handful of rules for English prose. It looks at each word that ends in a period,
a question or an exclamation mark, and at the word after it.
"""

import re
from itertools import zip_longest

_OPENERS = "\"'“‘«‹([{*_-–—•#"
CLOSERS = "\"'”’»›)]}*_"
TERMINALS = ".?!…"
_DETACHED_MARKS = TERMINALS + '"”’»›)]}'


def _words(line: str) -> frozenset[str]:
    """Return the words of a line: as a literal, one on each line, they would fill screens."""
    return frozenset(line.split())


# What follows decides whether a period only belongs to an abbreviation or ends a sentence, too.
# Never the end: a name or an explanation follows.
_ALWAYS_CONTINUES = _words(
    "mr mrs ms mx prof rev fr gen col maj sgt capt cpt lt cmdr gov sen rep pres hon msgr messrs "
    "mme mlle e.g eg i.e ie vs cf viz approx al"
)
# An abbreviation if a number follows; "no" is a word otherwise, "CA" a state.
_CONTINUES_WITH_NUMBER = _words(
    "no nos nr fig figs eq p pp pg vol ca jan feb apr jun jul aug sep sept oct nov dec"
)
# The end of the sentence if a capital follows.
_CONTINUES_WITH_LOWER_CASE = _words(
    "etc a.m p.m ft lb lbs oz yd yds hr hrs min mins sq incl est misc"
)
# A capital may be a name ("St. Mary", "U.S. Army"): the end only if a word follows that
# often starts a sentence and hardly ever a name ("on Main St. The house").
_CONTINUES_WITH_NAME = _words(
    "dr st ste mt ave blvd rd hwy jr sr inc ltd co corp bros dept univ assn gmbh ph.d"
)
_SENTENCE_STARTERS = _words(
    "a above across additionally after all also although an and another around as at attached "
    "background because before behind below beneath beside between beyond both but by directly "
    "during each every everything few finally for four from further here he her his however i if "
    "in inside instead it its just many meanwhile more most my near nearby next no not on one only "
    "our outside over overall she since so some someone something soon that the their then there "
    "these they this those three through to two under up we what when where while with within you "
    "your"
)

_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")  # "j", "u.s", "a.k.a"
_LIST_NUMBER = re.compile(r"[(\[]?(?:\d{1,3}|[^\W\d_])\.[)\]]?")  # "1.", "(2.)", "b."
_PARAGRAPH_BREAK = re.compile(r"\n\s*\n")


def split_sentences(text: str) -> list[str]:
    """Return the sentences of `text`, with their punctuation.

    A blank line ends a sentence in any case; other line breaks are spaces. Joined with spaces, the
    sentences are the text again with its whitespace collapsed. A text of whitespace has none.
    """
    sentences: list[str] = []
    for paragraph in _PARAGRAPH_BREAK.split(text):
        sentence: list[str] = []
        groups = _with_detached_marks(paragraph.split())
        for group, following in zip_longest(groups, groups[1:]):
            is_list_number = not sentence and _LIST_NUMBER.fullmatch(group)
            sentence.append(group)
            if following is None or (not is_list_number and _ends_sentence(group, following)):
                sentences.append(" ".join(sentence))
                sentence = []
    return sentences


def _with_detached_marks(words: list[str]) -> list[str]:
    """Return the words, each together with marks that stand after it on their own: `dog . "`."""
    groups: list[list[str]] = []
    in_quotes = False
    for word in words:
        # A quotation mark that stands alone closes where one is open; else it opens the next word.
        belongs_to_last = not word.strip(_DETACHED_MARKS) and ('"' not in word or in_quotes)
        if groups and belongs_to_last:
            groups[-1].append(word)
        else:
            groups.append([word])
        in_quotes ^= word.count('"') % 2 == 1
    return [" ".join(group) for group in groups]


def _ends_sentence(group: str, following: str) -> bool:
    """Return whether a word with its marks ends a sentence, given the word after it."""
    word = group.replace(" ", "")
    core = word.rstrip(CLOSERS)
    if not core.endswith(tuple(TERMINALS)):
        return False
    first = following.lstrip(_OPENERS)[:1]
    is_ellipsis = core.endswith(("..", "…"))
    if (core != word or is_ellipsis) and first.islower():
        return False  # 'a sign reading "Stop!" and a tree', "red ... or blue"
    stem = core.lstrip(_OPENERS).lower()
    if is_ellipsis or not stem.endswith("."):
        return True
    stem = stem.removesuffix(".")
    if stem in _ALWAYS_CONTINUES or (stem in _CONTINUES_WITH_NUMBER and first.isdigit()):
        return False
    if stem in _CONTINUES_WITH_LOWER_CASE:
        return first.isupper()
    if stem in _CONTINUES_WITH_NAME or _INITIALS.fullmatch(stem):
        next_stem = following.lstrip(_OPENERS).rstrip(CLOSERS + TERMINALS + ",;:").lower()
        next_stem = next_stem.partition("'")[0].partition("’")[0]
        return first.isupper() and next_stem in _SENTENCE_STARTERS
    return True
