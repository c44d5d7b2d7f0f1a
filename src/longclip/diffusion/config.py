"""Configuration of `generate`; without torch, since every start of the command line reads it."""

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from longclip.errors import UsageError
from longclip.options import Dtype, Text, check_options, device_option, dtype_option, option
from longclip.spec import Overflow

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class GenerateConfig:
    """Prompt, models and settings of pictures to make."""

    prompt: Text = option("What is to be seen; for the command `-` reads it from standard input.")
    model: str = option("A diffusers pipeline: a directory, or owner/model on the hub.")
    _: KW_ONLY
    text_encoder: str | None = option(
        "A Long-CLIP for the first text encoder: anything that other commands take as a model. "
        "Where not given, the pipeline's own is stretched.",
        None,
    )
    text_encoder_2: str | None = option("Likewise for the second one of SDXL.", None)
    negative: Text | None = option("What is not to be seen.", None)
    seed: int = option(
        "Decides the noise, which is drawn on the CPU, so that a seed means the same on every "
        "device; each further picture has the next one.",
        0,
        least=0,
    )
    steps: int = option("Denoising steps.", 30, least=1)
    guidance: float | None = option(
        "How strongly the prompt is followed; where not given, the pipeline's default.",
        None,
        least=0,
    )
    width: int | None = option(
        "In pixels; where not given, what the model was trained for.", None, least=1
    )
    height: int | None = option("Likewise.", None, least=1)
    count: int = option("Number of pictures.", 1, least=1)
    overflow: Overflow = option(
        "What becomes of a prompt longer than the long encoder reads: `warn` cuts it and says so, "
        "`chunk` reads it in several windows.",
        "warn",
    )
    clip_skip: int | None = option(
        'Layers left out at the end of the encoders, counted as diffusers does: 1 is "Clip skip '
        '2" of the web UI.',
        None,
        least=0,
    )
    weights: bool = option(
        "Read (word:1.3), [word] and BREAK instead of taking them for text.", False
    )
    dtype: Dtype = dtype_option("float16 on CUDA and float32 elsewhere")
    device: str = device_option()
    revision: str | None = option("Branch, tag or commit of the pipeline on the hub.", None)

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("width", "height"):
            value = getattr(self, name)
            if value is not None and value % 8:
                raise UsageError(f"--{name} is {value}, must be a multiple of 8")

    @property
    def chosen_device(self) -> str:
        """The device, with `auto` resolved."""
        from longclip.util.hardware import pick_device

        return pick_device(self.device)

    @property
    def chosen_dtype(self) -> "torch.dtype":
        """The dtype, with `auto` resolved."""
        import torch

        from longclip.util.hardware import pick_dtype

        on_cuda = self.chosen_device.startswith("cuda")
        return pick_dtype(self.dtype, auto=torch.float16 if on_cuda else torch.float32)
