"""Questions with one right answer: which caption, or which picture, belongs to which."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from longclip.data.collection import ChoiceRule, ChoiceSet
from longclip.errors import UsageError
from longclip.evaluation.ranking import paired_cosines

_CHANCE_OF_TWO = {"image to text": 1 / 3, "texts alone": 1 / 3}
_CHANCE_OF_PAIRS = {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6}


@dataclass(frozen=True)
class ChoiceResult:
    """Answers of one model to one set of questions.

    Attributes:
        rule: what makes an answer right.
        correct: bool [Q] of each question, by the name of the score.
        picture_of: int64 [Q], equal for questions about the same picture.
        category_of: int64 [Q], the category of a question among `categories`.
        categories: their names.
        in_mean: categories of which `mean_of_categories` is the mean; none where a set has no
            such mean.
        chance: what guessing gives, by the name of the score.
    """

    rule: ChoiceRule
    correct: dict[str, torch.Tensor] = field(repr=False, compare=False)
    picture_of: torch.Tensor = field(repr=False, compare=False)
    category_of: torch.Tensor = field(repr=False, compare=False)
    categories: tuple[str, ...]
    in_mean: tuple[str, ...]
    chance: dict[str, float]

    @property
    def questions(self) -> int:
        return len(self.picture_of)

    @property
    def scores(self) -> dict[str, float]:
        """Return the share of all questions that are answered rightly, by score."""
        return {name: right.double().mean().item() for name, right in self.correct.items()}

    def by_category(self, score: str) -> dict[str, float]:
        """Return the share of each category's questions that are answered rightly."""
        right = self.correct[score].double()
        counts = torch.bincount(self.category_of, minlength=len(self.categories))
        sums = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, self.category_of, right)
        return dict(zip(self.categories, (sums / counts).tolist(), strict=True))

    @property
    def mean_of_categories(self) -> float | None:
        """Return the mean over categories, as ARO tells it; None for other sets."""
        if not self.in_mean:
            return None
        shares = self.by_category(next(iter(self.correct)))
        return sum(shares[name] for name in self.in_mean) / len(self.in_mean)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers for readers first, then what `from_json` needs."""
        counts = torch.bincount(self.category_of, minlength=len(self.categories)).tolist()
        return {
            "questions": self.questions,
            "scores": self.scores,
            "mean_of_categories": self.mean_of_categories,
            "by_category": {score: self.by_category(score) for score in self.correct},
            "questions_by_category": dict(zip(self.categories, counts, strict=True)),
            "rule": self.rule,
            "chance": self.chance,
            "in_mean": list(self.in_mean),
            "correct": {name: right.int().tolist() for name, right in self.correct.items()},
            "picture_of": self.picture_of.tolist(),
            "category_of": self.category_of.tolist(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ChoiceResult":
        """Read what `to_json` wrote."""
        correct = {name: torch.tensor(r, dtype=torch.bool) for name, r in values["correct"].items()}
        return cls(
            values["rule"],
            correct,
            torch.tensor(values["picture_of"]),
            torch.tensor(values["category_of"]),
            tuple(values["questions_by_category"]),
            tuple(values["in_mean"]),
            dict(values["chance"]),
        )


def answer_choices(
    choices: ChoiceSet,
    row_of_image: dict[int, int],
    image_embeddings: torch.Tensor,
    embed: Callable[[Sequence[str]], torch.Tensor],
) -> ChoiceResult:
    """Answer the questions by cosines; equal ones count against the model.

    Args:
        choices: the questions; those about a picture that could not be read are left out.
        row_of_image: the row of each picture of the collection that could be read.
        image_embeddings: [N, D].
        embed: gives the embeddings [M, D] of texts.

    Raises:
        UsageError: if none of their pictures could be read.
    """
    asked = [one for one in choices.choices if all(i in row_of_image for i in one.images)]
    if not asked:
        raise UsageError(f"{choices.name} has no question whose pictures can be read")
    texts = [text for one in asked for text in one.texts]
    rows = embed(texts)
    width = len(asked[0].texts)
    assert all(len(one.texts) == width for one in asked), "a set has one form of question"
    of_texts = torch.arange(len(texts)).view(-1, width)
    of_images = torch.tensor([[row_of_image[i] for i in one.images] for one in asked])

    def cosines(image: int, text: int) -> torch.Tensor:
        return paired_cosines(image_embeddings, of_images[:, image], rows[of_texts[:, text]])

    if choices.rule == "first":
        true = cosines(0, 0)
        right = torch.ones(len(asked), dtype=torch.bool)
        for text in range(1, width):
            right &= true > cosines(0, text)
        correct, chance = {"accuracy": right}, {"accuracy": 1 / width}
    elif choices.rule == "first two":
        one, two, false = (cosines(0, text) for text in range(3))
        alike, near, far = (
            paired_cosines(rows, of_texts[:, a], rows[of_texts[:, b]])
            for a, b in ((0, 1), (0, 2), (1, 2))
        )
        correct = {
            "image to text": (one > false) & (two > false),
            "texts alone": (alike > near) & (alike > far),
        }
        chance = _CHANCE_OF_TWO
    else:
        (a, b), (c, d) = ([cosines(image, text) for text in (0, 1)] for image in (0, 1))
        text_right, image_right = (a > b) & (d > c), (a > c) & (d > b)
        correct = {"text": text_right, "image": image_right, "group": text_right & image_right}
        chance = _CHANCE_OF_PAIRS

    categories = tuple(dict.fromkeys(one.category for one in asked))
    number = {category: i for i, category in enumerate(categories)}
    category_of = torch.tensor([number[one.category] for one in asked])
    counts = torch.bincount(category_of).tolist()
    in_mean: tuple[str, ...] = ()
    if choices.least > 1 or choices.left_out:
        in_mean = tuple(
            category
            for category, count in zip(categories, counts, strict=True)
            if count >= choices.least and category not in choices.left_out
        )
    return ChoiceResult(
        choices.rule, correct, of_images[:, 0], category_of, categories, in_mean, dict(chance)
    )
