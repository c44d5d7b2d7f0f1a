"""Which short and which long text of an image a training step reads."""

import numpy as np

from longclip.data.collection import Captions
from longclip.inputs import short_caption


def sample_texts(
    captions: Captions, random: np.random.Generator, *, join_short: int = 1
) -> tuple[str, str]:
    """One short and one long text of an image, for a training step.

    A random one of several; several short captions joined in random order stand in for a missing
    long one, and the first sentence of the long one for a missing short one (the published
    policy: Long-CLIP, section 4.1). With `join_short` above 1 the short text is up to that many
    short captions, as texts from the web are of all lengths.
    """
    if captions.long:
        long = captions.long[random.integers(len(captions.long))]
    else:
        long = " ".join(captions.short[i] for i in random.permutation(len(captions.short)))
    if not captions.short:
        return short_caption(long), long
    count = min(int(random.integers(join_short)) + 1, len(captions.short))
    chosen = random.choice(len(captions.short), count, replace=False)
    return " ".join(captions.short[i] for i in chosen), long
