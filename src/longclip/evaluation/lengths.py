"""How much of a long text an encoder really uses: recall against the number of tokens kept."""

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from longclip.evaluation.encoder import Encoder
from longclip.evaluation.metrics import retrieval_recall
from longclip.inputs import clip_tokenizer

_BOS_AND_EOT = 2


@dataclass(frozen=True)
class LengthCurve:
    """Recall at `k`, as fractions of 1, where each text keeps its first `tokens[i]` tokens.

    BOS and EOT are not counted. `texts_cut[i]` of the texts had more than that.
    """

    k: int
    images: int
    texts: int
    tokens: tuple[int, ...]
    texts_cut: tuple[int, ...]
    image_to_text: tuple[float, ...]
    text_to_image: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "k": self.k,
            "images": self.images,
            "texts": self.texts,
            "tokens": list(self.tokens),
            "texts_cut": list(self.texts_cut),
            "image_to_text": list(self.image_to_text),
            "text_to_image": list(self.text_to_image),
        }


def recall_by_length(
    encoder: Encoder,
    image_embeddings: torch.Tensor,
    texts: Sequence[str],
    image_of_text: torch.Tensor,
    *,
    tokens: Sequence[int],
    k: int = 1,
) -> LengthCurve:
    """The curve behind the "effective length" of the Long-CLIP paper (its introduction).

    `image_embeddings` [N, D] come from the same encoder; `image_of_text`, int64 [M], as in
    `retrieval_recall`. Lengths that the encoder has no room for are left out: the curve ends
    where the model does. Only texts that a further token changes are embedded again.
    """
    room = encoder.context_length - _BOS_AND_EOT
    kept = tuple(sorted({n for n in tokens if n <= room}))
    if not kept or kept[0] < 1:
        raise ValueError(
            f"tokens must be numbers from 1 up, some of them at most {room} (what the encoder "
            f"has room for), not {tuple(tokens)}"
        )
    whole = clip_tokenizer().encode(texts)
    embeddings = torch.zeros(len(texts), image_embeddings.shape[1])
    cuts, image_to_text, text_to_image = [], [], []
    changed = list(range(len(texts)))
    for n in kept:
        if changed:
            ids = [[*whole[i][:-1][: n + 1], whole[i][-1]] for i in changed]
            embeddings[changed] = encoder.encode_text(ids).float().cpu()
        changed = [i for i, ids in enumerate(whole) if len(ids) - _BOS_AND_EOT > n]
        recall = retrieval_recall(image_embeddings, embeddings, image_of_text, ks=(k,))
        cuts.append(len(changed))
        image_to_text.append(recall.image_to_text[k])
        text_to_image.append(recall.text_to_image[k])
    return LengthCurve(
        k=k,
        images=len(image_embeddings),
        texts=len(texts),
        tokens=kept,
        texts_cut=tuple(cuts),
        image_to_text=tuple(image_to_text),
        text_to_image=tuple(text_to_image),
    )


def characters_read(text: str, context_length: int) -> int:
    """Where an encoder of that context stops reading: `text[:n]` are the whole words that fit."""
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    fitting = bisect.bisect_right(
        ends, context_length, key=lambda end: len(clip_tokenizer().encode([text[:end]])[0])
    )
    if fitting == len(ends):
        return len(text)
    return ends[fitting - 1] if fitting else 0
