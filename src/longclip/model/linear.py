"""Linear layers of a transformer with what stands around them: scales, activation, residual.

On a CPU whatever is not a matrix product is a pass through memory, and those took a fifth of the
time. A product can scale its result and add it to what is there already at no cost, so scales and
residuals go into the products; a bias is added in place, since given to the product it is copied to
every row first and then read again.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longclip.spec import Activation

QUICK_GELU_SCALE = 1.702
"""x·σ(1.702 x), OpenAI's activation, is silu(1.702 x) / 1.702, and silu is one fused kernel."""


def quick_gelu(x: Tensor) -> Tensor:
    """Compute OpenAI's activation, x·sigmoid(1.702 x), through silu: half the passes over x."""
    return F.silu(QUICK_GELU_SCALE * x) * (1 / QUICK_GELU_SCALE)


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
}


class AdaptedLinear(nn.Linear):
    """Linear layer with another map beside it, whose result is added to its own."""

    def beside(self, x: Tensor) -> Tensor:
        """Map […, in] to […, out], linearly."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map […, in] to […, out]."""
        return super().forward(x) + self.beside(x)


def taken_apart(layer: nn.Module, x: Tensor) -> bool:
    """Return whether a layer's product is computed here: on a CPU, where nothing is compiled.

    A layer with hooks, or whose `forward` another library has replaced, has to be called.
    """
    on_cpu = x.device.type == "cpu" and not torch.compiler.is_compiling()
    ours = type(layer) is nn.Linear or isinstance(layer, AdaptedLinear)
    return on_cpu and ours and not _is_watched(layer)


def _is_watched(layer: nn.Module) -> bool:
    hooks = (
        layer._forward_hooks,
        layer._forward_pre_hooks,
        layer._backward_hooks,
        layer._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(layer)


def apply_linear(layer: nn.Module, x: Tensor, scale: float = 1.0) -> Tensor:
    """Return scale · layer(x), […, in] → […, out]."""
    if not taken_apart(layer, x):
        y: Tensor = layer(x)
        return y if scale == 1 else scale * y
    assert isinstance(layer, nn.Linear)
    rows, weight = x.flatten(0, -2), layer.weight.T
    if torch.is_autocast_enabled("cpu"):
        # There the product adds the bias before it rounds to half precision.
        rows = torch.addmm(scale * layer.bias, rows, weight, alpha=scale)
    else:
        # What is to be added counts zero times: it is not even read.
        rows = torch.addmm(x.new_empty(1), rows, weight, beta=0, alpha=scale)
        rows.add_(layer.bias, alpha=scale)
    y = rows.view(*x.shape[:-1], -1)
    return y + scale * layer.beside(x) if isinstance(layer, AdaptedLinear) else y


def add_linear(residual: Tensor, layer: nn.Module, x: Tensor, scale: float = 1.0) -> Tensor:
    """Return residual + layer(scale · x), […, out] and […, in] → […, out]."""
    if not taken_apart(layer, x):
        y: Tensor = layer(x if scale == 1 else scale * x)
        return residual + y
    assert isinstance(layer, nn.Linear)
    rows, weight = x.flatten(0, -2), layer.weight.T
    if torch.is_autocast_enabled("cpu"):
        y = torch.addmm(layer.bias, rows, weight, alpha=scale)
        y = residual + y.view_as(residual)
    else:
        total = residual.flatten(0, -2) + layer.bias
        y = total.addmm_(rows, weight, alpha=scale).view_as(residual)
    return y + scale * layer.beside(x) if isinstance(layer, AdaptedLinear) else y
