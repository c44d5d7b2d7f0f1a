"""Long prompts with Stable Diffusion 2.x, whose text encoder is OpenCLIP's ViT-H.

Nobody has published a Long-CLIP of that size, so its own encoder is stretched: its first 20
positions stay as they are, the others are drawn out to 248 (Long-CLIP, section 3.2). Train one with
`longclip train`, name it with --text-encoder, and it is used instead.

Run it cell by cell in an editor that knows `# %%`, or at once:

    python examples/stable_diffusion_2.py --model stabilityai/stable-diffusion-2-1-base

The first run fetches 5.2 GB.
"""

# %% What to use
import argparse
from pathlib import Path

import torch
from diffusers import AutoPipelineForText2Image

from longclip.diffusion import apply, encode

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="stabilityai/stable-diffusion-2-1-base")
parser.add_argument("--text-encoder", default=None)
parser.add_argument("--out", type=Path, default=Path("pictures"))
parser.add_argument("--size", type=int, default=512)
parser.add_argument("--steps", type=int, default=30)
# A notebook has arguments of its own.
settings, _ = parser.parse_known_args()
settings.out.mkdir(parents=True, exist_ok=True)

# %% The pipeline, with 248 tokens
cuda = torch.cuda.is_available()
pipeline = AutoPipelineForText2Image.from_pretrained(
    settings.model, torch_dtype=torch.float16 if cuda else torch.float32, use_safetensors=True
).to("cuda" if cuda else "cpu")
apply(pipeline, text_encoder=settings.text_encoder)

# %% Two prompts that differ only behind the 77th token
beginning = (
    "A photograph of a mountain hut in deep snow, late in the afternoon. The sun has just gone "
    "behind the ridge, the sky is lilac, and the snow is blue in the shadow. Smoke rises straight "
    "up from a stone chimney. A path has been dug to the door, and two pairs of skis lean against "
    "the wall, one of them much shorter than the other. A lantern hangs above the bench."
)
endings = {
    "dog": "On the bench lies a big brown dog.",
    "kettle": "On the bench stands a red kettle.",
}
for name, ending in endings.items():
    image = pipeline(
        f"{beginning} {ending}",
        negative_prompt="blurry",
        width=settings.size,
        height=settings.size,
        num_inference_steps=settings.steps,
        generator=torch.Generator("cpu").manual_seed(0),
    ).images[0]
    image.save(settings.out / f"{name}.png")

# %% The embeddings themselves, for those who call the parts of a pipeline on their own
conditioning = encode(pipeline, list(endings.values()), negative_prompt="blurry")
print(tuple(conditioning.prompt_embeds.shape))  # prompts, tokens, width
