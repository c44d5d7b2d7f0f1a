"""Long prompts with Stable Diffusion 1.x, and a Long-CLIP in the place of its text encoder.

Run it cell by cell in an editor that knows `# %%`, or at once:

    python examples/stable_diffusion_1.py --model stable-diffusion-v1-5/stable-diffusion-v1-5 \
        --text-encoder BeichenZhang/LongCLIP-L

The first run fetches 5.5 GB for the pipeline and 1.7 GB for the encoder.
"""

# %% What to use
import argparse
from pathlib import Path

import torch
from diffusers import AutoPipelineForText2Image

from longclip.diffusion import apply, encode, undo

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="stable-diffusion-v1-5/stable-diffusion-v1-5")
parser.add_argument("--text-encoder", default="BeichenZhang/LongCLIP-L")
parser.add_argument("--out", type=Path, default=Path("pictures"))
parser.add_argument("--size", type=int, default=512)
parser.add_argument("--steps", type=int, default=30)
# A notebook has arguments of its own.
settings, _ = parser.parse_known_args()
settings.out.mkdir(parents=True, exist_ok=True)

# %% The pipeline, as it was published
cuda = torch.cuda.is_available()
pipeline = AutoPipelineForText2Image.from_pretrained(
    settings.model, torch_dtype=torch.float16 if cuda else torch.float32, use_safetensors=True
).to("cuda" if cuda else "cpu")

# %% A prompt whose second half 77 tokens do not hold
prompt = (
    "A quiet harbour at dawn, painted in oil, with mist over the water. Two fishermen in yellow "
    "coats mend a torn net on the quay, and a grey cat watches them from an upturned blue crate. "
    "Behind them stands a white lighthouse with a red band, and far out a steamer trails smoke "
    "into a pale pink sky. On the left, an old woman in a green headscarf sells oranges from a "
    "wooden cart, and a small boy in a striped shirt has just dropped one of them."
)


def draw(name: str, **prompts: object) -> None:
    """Draw one picture, always from the same noise."""
    image = pipeline(
        **prompts,
        width=settings.size,
        height=settings.size,
        num_inference_steps=settings.steps,
        generator=torch.Generator("cpu").manual_seed(0),
    ).images[0]
    image.save(settings.out / f"{name}.png")


# %% The original encoder: diffusers says what it cuts off
draw("1-original", prompt=prompt)

# %% A Long-CLIP: 248 tokens, nothing else changes
apply(pipeline, text_encoder=settings.text_encoder)
draw("2-long", prompt=prompt, negative_prompt="blurry, oversaturated")

# %% Without a Long-CLIP, the encoder's own positions can be stretched
apply(pipeline)
draw("3-stretched", prompt=prompt)

# %% Weights and BREAK, and as many tokens as you like
apply(pipeline, text_encoder=settings.text_encoder)
weighted = prompt.replace("a grey cat", "(a grey cat:1.3)") + " BREAK [fog], warm light"
draw("4-weighted", **encode(pipeline, weighted, negative_prompt="blurry").kwargs)

# %% Saved, it is a stock pipeline; nothing of ours is needed to load it
pipeline.save_pretrained(settings.out / "pipeline")

# %% And back
undo(pipeline)
draw("5-undone", prompt=prompt)
