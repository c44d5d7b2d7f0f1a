"""Run by an interpreter that has transformers 4: what it makes of model directories.

python old_transformers.py WHOLE_CLIP TEXT_TOWER INPUTS.npz OUTPUTS.npz
"""

import sys
from typing import Any

import huggingface_hub
import numpy as np
import tokenizers
import torch
import transformers
from PIL import Image


def load(kind: str, directory: str, *, exact: bool = True) -> Any:
    """A model all of whose weights came from the directory; exact: and nothing is left over."""
    model, report = getattr(transformers, kind).from_pretrained(directory, output_loading_info=True)
    assert not report["missing_keys"], (kind, report["missing_keys"])
    assert not report["mismatched_keys"], (kind, report["mismatched_keys"])
    assert not (exact and report["unexpected_keys"]), (kind, report["unexpected_keys"])
    return model.eval()


@torch.inference_mode()
def main(whole: str, tower: str, inputs: str, outputs: str) -> None:
    """Write every class's features under its name."""
    given = np.load(inputs)
    pixels = torch.from_numpy(given["pixels"])
    texts = [str(text) for text in given["texts"]]
    tokenizer = transformers.AutoTokenizer.from_pretrained(whole)
    processor = transformers.AutoProcessor.from_pretrained(whole)
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    picture = processor(images=Image.fromarray(given["picture"]), return_tensors="pt")

    both, auto = load("CLIPModel", whole), load("AutoModel", whole)
    projected = load("CLIPTextModelWithProjection", whole, exact=False)
    bare = load("CLIPTextModel", whole, exact=False)
    vision = load("CLIPVisionModelWithProjection", whole, exact=False)
    alone = load("CLIPTextModelWithProjection", tower)
    bare_alone = load("CLIPTextModel", tower, exact=False)

    modules = (transformers, huggingface_hub, tokenizers)
    found = {
        "versions": [f"{module.__name__}=={module.__version__}" for module in modules],
        "lengths": [
            tokenizer.model_max_length,
            processor.tokenizer.model_max_length,
            transformers.AutoTokenizer.from_pretrained(tower).model_max_length,
            both.config.max_length,
            alone.config.max_length,
        ],
        "ids": ids,
        "picture": picture.pixel_values[0],
        "text CLIPModel": both.get_text_features(ids),
        "text AutoModel": auto.get_text_features(ids),
        "text CLIPTextModelWithProjection": projected(ids).text_embeds,
        "text CLIPTextModel": both.text_projection(bare(ids).pooler_output),
        "text tower CLIPTextModelWithProjection": alone(ids).text_embeds,
        "text tower CLIPTextModel": both.text_projection(bare_alone(ids).pooler_output),
        "image CLIPModel": both.get_image_features(pixels),
        "image AutoModel": auto.get_image_features(pixels),
        "image CLIPVisionModelWithProjection": vision(pixels).image_embeds,
    }
    np.savez(outputs, **{name: np.asarray(value) for name, value in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
