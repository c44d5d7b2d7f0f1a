"""Image towers of other libraries: carried bit for bit by anyone, computed by their owner.

This package writes text towers itself. Of image towers it writes CLIP's ViT; SigLIP's, and what
OpenCLIP makes of timm's networks and of ResNets, belong to those libraries. Their weights are held
under their owner's names whether or not it is installed, so that a model can be lengthened,
converted and asked for texts without it.
"""

import importlib
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from longclip.errors import UsageError
from longclip.model.config import ForeignVisionConfig
from longclip.spec import ImageTowerOwner
from longclip.util.libraries import require_libraries


class ForeignImageTower(nn.Module):
    """Image tower of another library, from pixels to the joint space.

    Its weights have no code around them until the first picture comes, or `prepare` is called. It
    stays in evaluation mode: statistics of batches (BatchNorm) are those that it came with.

    Args:
        config: its owner, and what the owner makes it from.

    Attributes:
        tower: the owner's module, or modules without code that hold the same tensors.
    """

    def __init__(self, config: ForeignVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.tower: nn.Module = _Held({})
        self._activation_checkpointing = False

    @property
    def prepared(self) -> bool:
        """Return whether the owner's module is there."""
        return not isinstance(self.tower, _Held)

    def hold(self, tensors: Mapping[str, Tensor]) -> None:
        """Take tensors by their owner's names, in place of those that were held."""
        self.tower = _Held(tensors)

    def prepare(self) -> None:
        """Put the owner's module around the weights; where none are held, it draws them.

        Raises:
            UsageError: if its library is not installed or cannot be imported, or makes another
                network of the description.
        """
        if self.prepared:
            return
        require_owner(self.config.owner)
        held = self.tower.state_dict()
        try:
            importlib.import_module(self.config.owner)
        except (ImportError, OSError, RuntimeError) as error:  # as a torchvision of another torch
            raise UsageError(
                f"the images of this model need {self.config.owner}, which is installed and cannot "
                f"be imported: {error}; mend that installation"
            ) from error
        tower = _MAKERS[self.config.owner](self.config.config)
        if held:
            try:
                # Assigned: the weights stay views of their file until something moves them.
                tower.load_state_dict(held, assign=True)
            except RuntimeError as error:
                raise UsageError(
                    f"{self.config.owner} makes another image tower of this model's description "
                    f"than its weights are of; another version of it may be needed: {error}"
                ) from error
            some = next(iter(tower.parameters()))
            for name, buffer in tower.named_buffers():
                if name not in held and buffer.is_floating_point():
                    buffer.data = buffer.data.to(some.dtype)
            tower.to(some.device)
        self.tower = tower.eval()
        if self._activation_checkpointing:
            self.activation_checkpointing(enabled=True)

    def activation_checkpointing(self, enabled: bool) -> None:
        """Recompute activations in the backward pass, block by block."""
        self._activation_checkpointing = enabled
        tower: Any = self.tower
        if not self.prepared:
            return
        if self.config.owner == "open_clip" and not hasattr(tower, "layer1"):
            tower.set_grad_checkpointing(enabled)
            return
        # OpenCLIP has none for ResNets, and transformers none for modules that do not train.
        for block in _blocks(tower):
            if enabled:
                again = partial(checkpoint, type(block).forward, block)
                block.forward = partial(again, use_reentrant=False, preserve_rng_state=False)
            else:
                block.__dict__.pop("forward", None)

    def train(self, mode: bool = True) -> "ForeignImageTower":
        """Stay in evaluation mode."""
        del mode
        return super().train(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed pixels [B, 3, H, W] → [B, D].

        Raises:
            UsageError: as `prepare`.
        """
        self.prepare()
        found: Any = self.tower(pixels)
        if self.config.owner == "transformers":
            found = found.pooler_output
        assert isinstance(found, Tensor)
        return found


class _Held(nn.Module):
    """Modules without code that hold tensors under dotted names."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        inner: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            first, _, rest = name.partition(".")
            if rest:
                inner.setdefault(first, {})[rest] = tensor
            else:
                self.register_buffer(first, tensor)
        for name, parts in inner.items():
            self.add_module(name, _Held(parts))


def _transformers_tower(config: Mapping[str, Any]) -> nn.Module:
    from transformers import SiglipConfig, SiglipModel

    tiny = {"vocab_size": 2, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    tiny |= {"num_attention_heads": 1, "max_position_embeddings": 2}
    # Of its text tower nothing is used; ids outside the vocabulary would be warned of.
    tiny |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    whole = SiglipModel(SiglipConfig(text_config=tiny, vision_config=dict(config)))
    tower: nn.Module = whole.vision_model
    return tower


def _open_clip_tower(config: Mapping[str, Any]) -> nn.Module:
    import open_clip

    tiny = {"context_length": 3, "vocab_size": 3, "width": 8, "heads": 1, "layers": 1}
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    whole = open_clip.CustomTextCLIP(
        config["embed_dim"], vision, tiny, quick_gelu=bool(config.get("quick_gelu"))
    )
    tower: nn.Module = whole.visual
    return tower


_MAKERS = {"transformers": _transformers_tower, "open_clip": _open_clip_tower}
_EXTRAS = {"transformers": "siglip", "open_clip": "openclip"}


def require_owner(owner: ImageTowerOwner) -> None:
    """Refuse to go on without the library that computes an image tower.

    Raises:
        UsageError: if it is not installed; names the extra that installs it.
    """
    require_libraries(_EXTRAS[owner])


def _blocks(tower: Any) -> Iterable[Any]:
    """Return the layers of SigLIP's ViT, or the blocks of a ResNet."""
    if hasattr(tower, "layer1"):
        return [block for i in range(1, 5) for block in getattr(tower, f"layer{i}")]
    return tower.encoder.layers  # type: ignore[no-any-return]
