"""What was taken for what: pictures, rows, and the lengths of texts, for a run's first lines."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median_low
from typing import Any

from longclip.data.captions import Captions
from longclip.data.collection import Collection
from longclip.data.mixture import Joined, Mixture
from longclip.errors import ImageError
from longclip.spec import SPECIAL_TOKENS
from longclip.text.tokenizer import clip_tokenizer
from longclip.util.digest import spread
from longclip.util.terminal import counted

MAX_PICTURES_COUNTED = 500
"""Pictures whose texts are looked at: half a second at most."""


@dataclass(frozen=True)
class TextsSummary:
    """Texts of one kind, short or long.

    Attributes:
        origin: the column or member that they come from.
        pictures: that have any, of those looked at.
        texts: of these together.
        median_tokens: of their lengths, without begin and end.
    """

    origin: str
    pictures: int
    texts: int
    median_tokens: int


@dataclass(frozen=True)
class DataSummary:
    """What one collection was taken for; as a string, one line.

    Attributes:
        name: of the collection.
        pictures: images that there are.
        rows: that they come from.
        looked_at: pictures whose texts were counted; the next three are of these.
        chosen: how those were chosen where they are not all.
        without_text: of them.
        short: None where there are none.
        long: likewise.
        labels: number of classes, by the name of the task.
        questions: number of them, by the name of the set.
        problems: what was left out, and why (see `Collection`).
    """

    name: str
    pictures: int
    rows: int
    looked_at: int
    chosen: str
    without_text: int
    short: TextsSummary | None
    long: TextsSummary | None
    labels: dict[str, int]
    questions: dict[str, int]
    problems: tuple[str, ...]

    def __str__(self) -> str:
        pictures = counted(self.pictures, "picture")
        if self.rows != self.pictures:
            pictures += f" from {counted(self.rows, 'row')}"
        parts = [pictures]
        if self.short or self.long:
            joined = bool(self.short and self.short.texts > self.short.pictures)
            no_long = f"none → {'joined' if joined else 'the short one'}"
            parts += [
                f"short: {_words(self.short) or 'none → first sentence of the long text'}, "
                f"long: {_words(self.long) or no_long}"
            ]
        elif not self.labels and not self.questions:
            parts.append("no texts")
        if self.without_text and (self.short or self.long):
            parts.append(f"{self.without_text:,} without a text")
        if self.looked_at < self.pictures and (self.short or self.long):
            parts.append(f"counted in {self.looked_at:,} pictures, {self.chosen}")
        if self.labels:
            tasks = (f"{task} ({count:,} classes)" for task, count in self.labels.items())
            parts.append(f"labels: {', '.join(tasks)}")
        parts += [counted(count, "question") for count in self.questions.values()]
        return f"{self.name}: {'; '.join(parts)}"

    def lines(self) -> list[str]:
        """Return the line for people, and one for each problem."""
        return [str(self), *(f"{self.name}: {problem}" for problem in self.problems)]

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        return asdict(self)


def summarise(
    collection: Collection, *, labels: bool = False, questions: bool = False
) -> list[DataSummary]:
    """Return what a collection, or each part of a joined one, was taken for.

    Args:
        collection: any.
        labels: whether its labels are counted too, which reads all of them.
        questions: whether its questions are.
    """
    parts = [(collection, len(collection))]
    if isinstance(collection, Joined):
        parts = collection.collections()
    summaries = [_summary(part, count, labels, questions) for part, count in parts]
    if isinstance(collection, Mixture):
        problems = (*summaries[-1].problems, *collection.found_twice)
        summaries[-1] = replace(summaries[-1], problems=problems)
    return summaries


def _summary(collection: Collection, count: int, labels: bool, questions: bool) -> DataSummary:
    # What is in shards elsewhere is fetched whole, and an even choice would be of all of them.
    blocks = [block for block in collection.blocks() if block]
    among = range(count)[: len(blocks[0])] if blocks else range(count)
    indices = [among[place] for place in spread(len(among), MAX_PICTURES_COUNTED)]
    captions = [_captions(collection, index) for index in indices]
    return DataSummary(
        name=collection.name,
        pictures=count,
        rows=collection.rows if collection.rows and count == len(collection) else count,
        looked_at=len(indices),
        chosen="of the first shard" if blocks else "evenly spread",
        without_text=sum(not own.short and not own.long for own in captions),
        short=_texts(collection.origins[0], [own.short for own in captions]),
        long=_texts(collection.origins[1], [own.long for own in captions]),
        labels={own.name: len(own.classes) for own in collection.label_sets()} if labels else {},
        questions={own.name: len(own.choices) for own in collection.choice_sets()}
        if questions
        else {},
        problems=collection.problems,
    )


def _captions(collection: Collection, index: int) -> Captions:
    try:
        return collection.captions(index)
    except ImageError:  # a damaged sample is met again, and counted, when its turn comes
        return Captions()


def _texts(origin: str, of_pictures: Sequence[Sequence[str]]) -> TextsSummary | None:
    texts = [text for own in of_pictures for text in own]
    if not texts:
        return None
    lengths = [len(ids) - SPECIAL_TOKENS for ids in clip_tokenizer().encode(texts)]
    return TextsSummary(origin, sum(map(bool, of_pictures)), len(texts), median_low(lengths))


def _words(texts: TextsSummary | None) -> str:
    if texts is None:
        return ""
    each = texts.texts / texts.pictures
    several = f"{each:.3g} each, " if each > 1 else ""
    return f"{texts.origin} ({several}median {counted(texts.median_tokens, 'token')})"
