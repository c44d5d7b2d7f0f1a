"""Low-rank adaptation: a frozen network that learns through small matrices beside its own.

LoRA (Hu et al. 2021): where a layer computes W x, it computes W x + (α/r) B A x instead, with A
[r, in] and B [out, r] the only things that learn. B starts at zero, so the network starts as it
was; at the end W + (α/r) B A replaces W and a stock CLIP remains, with no cost at inference.
"""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longclip.errors import UsageError
from longclip.model import CLIP
from longclip.model.config import ForeignVisionConfig
from longclip.model.linear import AdaptedLinear
from longclip.model.transformer import MLP, Attention
from longclip.spec import Tower

BOTH: tuple[Tower, ...] = ("text", "image")


class LoraLinear(AdaptedLinear):
    """Linear layer with a low-rank pair beside it; weight and bias keep their names.

    Args:
        linear: the layer to stand in for; its parameters are shared, not copied.
        rank: r, rows of A and columns of B.
        alpha: α; the pair counts α/r, so that another rank wants no other learning rate.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        # On "meta" no weights are allotted, and none drawn from the generator, to be replaced.
        with torch.device("meta"):
            super().__init__(linear.in_features, linear.out_features, linear.bias is not None)
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = alpha / rank
        self.lora_a = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        self.lora_b = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))
        # The bounds of the authors' code: ± 1/√in.
        nn.init.kaiming_uniform_(self.lora_a, a=5**0.5)

    def beside(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out] by the pair alone."""
        # Two thin products: B A itself would be as large as W, and its gradient with it.
        return F.linear(F.linear(x, self.lora_a), self.scale * self.lora_b)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return one plain layer that does the same, added up in float32 at least."""
        with torch.device("meta"):
            linear = nn.Linear(self.in_features, self.out_features, self.bias is not None)
        exact = torch.promote_types(self.weight.dtype, torch.float32)
        pair = self.lora_b.to(exact) @ self.lora_a.to(exact)
        weight = (self.weight.to(exact) + self.scale * pair).to(self.weight.dtype)
        linear.weight = nn.Parameter(weight, requires_grad=self.weight.requires_grad)
        linear.bias = self.bias
        return linear


def add_lora(model: CLIP, rank: int, alpha: float, *, towers: Collection[Tower] = BOTH) -> None:
    """Freeze towers and put a low-rank pair beside every linear layer of their blocks.

    That is queries, keys, values and output of attention and both layers of the MLP. All other
    parameters of those towers are frozen too, the position table included: whoever wants some to
    learn sets `requires_grad` again. The projections into the joint space, the temperature and
    towers that are not named stay as they are.

    The names of all parameters stay; new ones end in `lora_a` and `lora_b`, so a state dict of the
    model holds everything there is to restore. A is drawn from torch's global generator.

    Args:
        model: changed in place.
        rank: r ≥ 1, below the towers' width.
        alpha: α > 0; twice the rank is usual.
        towers: "text", "image" or both.

    Raises:
        ValueError: if rank or alpha make no sense, or the model has no such tower or pairs already.
    """
    # All is checked before anything is changed: a model is adapted as asked or stays as it was.
    chosen = []
    for name in towers:
        config = {"text": model.config.text, "image": model.config.vision}.get(name)
        if config is None:
            raise UsageError(
                f"this model has no {name!r} tower to adapt; towers are 'text', 'image'"
            )
        if isinstance(config, ForeignVisionConfig):
            raise UsageError(
                f"the image tower is one of {config.owner}'s, to which no low-rank pairs can be "
                "added; adapt the text tower (--learn text)"
            )
        if not 1 <= rank < config.hidden_size:
            raise UsageError(
                f"a low rank of {rank} does not suit the {name} tower, {config.hidden_size} wide; "
                f"take 1 to {config.hidden_size - 1} (4 to 64 are usual)"
            )
        if not alpha > 0:
            raise UsageError(f"alpha is {alpha}, must be above 0 (twice the rank is usual)")
        tower = model.text_model if name == "text" else model.vision_model
        if any(isinstance(linear, LoraLinear) for *_, linear in _linears(tower)):
            raise UsageError(f"the {name} tower has low-rank pairs already; merge_lora them first")
        chosen.append(tower)
    for tower in chosen:
        tower.requires_grad_(False)
        for parent, child, linear in _linears(tower):
            setattr(parent, child, LoraLinear(linear, rank, alpha))


def merge_lora(model: CLIP) -> None:
    """Fold every pair into the weight beside it; a stock CLIP remains. What is frozen stays so.

    Raises:
        ValueError: if the model has no pairs.
    """
    found = [place for place in _linears(model) if isinstance(place[2], LoraLinear)]
    if not found:
        raise UsageError("there is nothing to merge: the model has no low-rank pairs; add_lora")
    for parent, child, linear in found:
        assert isinstance(linear, LoraLinear)
        setattr(parent, child, linear.merged())


def _linears(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Yield the linear layers of attention and MLPs: their parent, their name in it, and itself."""
    # Lists, since the caller replaces what it is given.
    for parent in list(network.modules()):
        if isinstance(parent, Attention | MLP):
            for name, linear in list(parent.named_children()):
                assert isinstance(linear, nn.Linear)
                yield parent, name, linear
