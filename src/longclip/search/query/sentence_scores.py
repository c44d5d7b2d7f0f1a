"""Scores of the sentences of a description: which of them an image satisfies.

The cosine of a sentence with an image says little by itself: some sentences are near to every
picture. Compared with its cosines with other images of the same database it does: z = 1 is one
standard deviation above their mean.

The bounds are measured on `scenes/val`, where what a sentence says of a picture is known to be
true or false. Of the sentences that are true of a picture, 45 % reach z = 1 and 27 % stay below 0
(nano fine-tuned on scenes; stretched alone 41 % and 29 %); of those that are not, 15 % and 54 %
(16 % and 52 %). So what reaches 1 is more than twice as likely to be true as any sentence, what
stays below 0 half as likely, and between the two nothing is claimed.

Two limits: things that a model does not see, such as single trees for nano, it does not judge
either. And the 20 best hits of a whole description resemble one another: among them a sentence
that reaches 1 is true in 32 % of cases, others in 22 % (23 % and 19 %).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

SATISFIED = 1.0
"""From this z on, an image is said to satisfy a sentence."""

OUTSTANDING = 3.0
"""From this z on the mark is a strong one. Hits are the best of many: of 1,000 images at random the
nearest has a z of some 3, so below that a hit hardly stands out, whatever the model knows."""

UNSATISFIED = 0.0
"""Below this z, an image is said not to satisfy it."""

MAX_REFERENCE_IMAGES = 1000
"""Images of the database that a sentence is compared with."""

MIN_REFERENCE_IMAGES = 30
"""With fewer images than this, mean and deviation are too uncertain to go by."""

_MIN_DEVIATION = 1e-4
"""Less than the rounding of stored embeddings makes of it."""

Verdict = Literal["yes", "some", "open", "no"]

LEGEND = "Each sentence fits an image, compared with your other images,"
"""What marks say; a `MEANING` goes on with it. No mark says that a sentence is true of an image."""

MEANINGS: dict[Verdict, str] = {
    "yes": "far more than most",
    "some": "more than most",
    "open": "like most",
    "no": "less than most",
}
"""Verdicts in words, relative to the collection; `service/page/common.js` has the same."""


def verdict(z: float) -> Verdict:
    """Return whether an image of this score satisfies the sentence, and how clearly."""
    if z >= SATISFIED:
        return "yes" if z >= OUTSTANDING else "some"
    return "no" if z < UNSATISFIED else "open"


class Reference:
    """Images that sentences are compared with: what their cosines with any sentence come from.

    Of a thousand images only the mean and the covariance are needed, so that a sentence costs D²
    steps and none for each image.

    Args:
        images: float32 [M, D], of length one: a sample of the images that could be found.
    """

    def __init__(self, images: NDArray[np.float32]) -> None:
        self.count = len(images)
        width = images.shape[1]
        self._mean = images.mean(0) if len(images) else np.zeros(width, np.float32)
        apart = images - self._mean
        self._covariance = apart.T @ apart / max(len(images), 1)

    def standard_scores(
        self, sentences: NDArray[np.float32], images: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return how much nearer each sentence is to an image than to most, in deviations.

        Args:
            sentences: float32 [S, D], of length one.
            images: float32 [N, D], of length one.

        Returns:
            float32 [N, S]; 0 where a sentence is equally near to all reference images.
        """
        variance = ((sentences @ self._covariance) * sentences).sum(1)
        deviation = np.sqrt(np.maximum(variance, 0))
        above = images @ sentences.T - sentences @ self._mean
        scores = above / np.maximum(deviation, _MIN_DEVIATION)
        return np.where(deviation < _MIN_DEVIATION, 0, scores).astype(np.float32)
