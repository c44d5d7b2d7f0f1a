"""Which short and which long text of an image a training step reads."""

import numpy as np

from longclip.data.collection import Captions
from longclip.inputs import short_caption


def sample_texts(captions: Captions, random: np.random.Generator) -> tuple[str, str]:
    """One short and one long text of an image, for a training step.

    A random one of several; several short captions joined in random order stand in for a missing
    long one, and the first sentence of the long one for a missing short one (the published
    policy: Long-CLIP, section 4.1).
    """
    if captions.long:
        long = captions.long[random.integers(len(captions.long))]
    else:
        long = " ".join(captions.short[i] for i in random.permutation(len(captions.short)))
    if captions.short:
        return captions.short[random.integers(len(captions.short))], long
    return short_caption(long), long
