"""Long prompts with SDXL: a Long-CLIP ViT-L first, its own ViT-bigG stretched second.

That is what the paper did. (Its script took both encoders' last layers; here they are read as SDXL
was trained.) Run it cell by cell in an editor that knows `# %%`, or at once:

    python examples/sdxl.py --model stabilityai/stable-diffusion-xl-base-1.0 \
        --text-encoder BeichenZhang/LongCLIP-L

The first run fetches 6.9 GB in float16 for the pipeline (13.9 GB in float32) and 1.7 GB for the
encoder.
"""

# %% What to use
import argparse
from pathlib import Path

import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image

from longclip.diffusion import apply, encode

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="stabilityai/stable-diffusion-xl-base-1.0")
parser.add_argument("--text-encoder", default="BeichenZhang/LongCLIP-L")
parser.add_argument("--text-encoder-2", default=None, help="without, its own is stretched")
parser.add_argument("--variant", default="fp16" if torch.cuda.is_available() else None)
parser.add_argument("--out", type=Path, default=Path("pictures"))
parser.add_argument("--size", type=int, default=1024)
parser.add_argument("--steps", type=int, default=30)
# A notebook has arguments of its own.
settings, _ = parser.parse_known_args()
settings.out.mkdir(parents=True, exist_ok=True)

# %% The pipeline, with 248 tokens; on a small GPU its parts take turns there
cuda = torch.cuda.is_available()
pipeline = AutoPipelineForText2Image.from_pretrained(
    settings.model,
    torch_dtype=torch.float16 if cuda else torch.float32,
    variant=settings.variant,
    use_safetensors=True,
)
if cuda:
    pipeline.enable_model_cpu_offload()
apply(pipeline, text_encoder=settings.text_encoder, text_encoder_2=settings.text_encoder_2)

# %% A long prompt
prompt = (
    "An illustration from a children's book: a tall, narrow house on a hill, built of driftwood "
    "and ship's planks, with a round green door. A heron in a waistcoat reads a newspaper on the "
    "balcony, and below it three mice carry a ladder through a bed of tulips. The weathercock is a "
    "whale. Washing hangs between the chimney and an apple tree, all of it striped. To the right, "
    "at the foot of the hill, a tiny red train crosses a bridge of stone, and its smoke becomes "
    "the clouds in the evening sky."
)
size = {"width": settings.size, "height": settings.size}
image = pipeline(
    prompt,
    negative_prompt="photograph, blurry",
    **size,
    num_inference_steps=settings.steps,
    generator=torch.Generator("cpu").manual_seed(0),
).images[0]
image.save(settings.out / "house.png")

# %% Weights, and more than 248 tokens: windows side by side
longer = f"(heron in a waistcoat:1.3) BREAK {prompt} {prompt}"
conditioning = encode(pipeline, longer, negative_prompt="photograph, blurry")
image = pipeline(
    **conditioning.kwargs,
    **size,
    num_inference_steps=settings.steps,
    generator=torch.Generator("cpu").manual_seed(0),
).images[0]
image.save(settings.out / "heron.png")

# %% Another pipeline of the same parts: the long encoders come along
variation = AutoPipelineForImage2Image.from_pipe(pipeline)
image = variation(
    prompt,
    image=image,
    strength=0.6,
    num_inference_steps=settings.steps,
    generator=torch.Generator("cpu").manual_seed(1),
).images[0]
image.save(settings.out / "house-again.png")
