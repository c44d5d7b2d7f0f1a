"""Products with scales, bias and residual are what the layers and an addition give."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from longclip.model.architectures import ARCHITECTURES
from longclip.model.linear import add_linear, apply_linear, quick_gelu
from longclip.model.transformer import MLP
from longclip.training.lora import LoraLinear


def layer(kind: str) -> nn.Linear:
    torch.manual_seed(0)
    plain = nn.Linear(6, 4)
    if kind == "plain":
        return plain
    low_rank = LoraLinear(plain, 2, 4.0)
    nn.init.normal_(low_rank.lora_b)
    return low_rank


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6)])
@pytest.mark.parametrize("kind", ["plain", "low rank"])
@pytest.mark.parametrize("how", ["inference", "learning", "autocast"])
def test_scaled_products_are_scaled_layers(shape: tuple[int, ...], kind: str, how: str) -> None:
    module, x, residual = layer(kind), torch.randn(shape), torch.randn(*shape[:-1], 4)
    before = x.clone(), residual.clone()
    expected = 1.7 * module(x), residual + module(1.7 * x)
    autocast = torch.autocast("cpu", torch.bfloat16) if how == "autocast" else nullcontext()
    with torch.set_grad_enabled(how == "learning"), autocast:
        found = apply_linear(module, x, 1.7), add_linear(residual, module, x, 1.7)
        plain = apply_linear(module, x), add_linear(residual, module, x)
    tolerance = {"rtol": 0, "atol": 0.1 if how == "autocast" else 1e-5}
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.float(), other, **tolerance)
    torch.testing.assert_close(plain[0].float(), module(x), **tolerance)
    torch.testing.assert_close(plain[1].float(), residual + module(x), **tolerance)
    assert torch.equal(x, before[0])
    assert torch.equal(residual, before[1])


def test_the_mlps_gradients_are_those_of_its_formula() -> None:
    text = ARCHITECTURES["ViT-B/16"].text
    assert text
    mlp = MLP(text).double()
    x, residual = torch.randn(2, 3, text.hidden_size, dtype=torch.float64)
    weights = list(mlp.parameters())
    found = torch.autograd.grad(mlp(residual, x).square().sum(), weights)
    hidden = mlp.fc1(x)
    assert torch.allclose(quick_gelu(hidden), hidden * torch.sigmoid(1.702 * hidden))
    formula = residual + mlp.fc2(hidden * torch.sigmoid(1.702 * hidden))
    expected = torch.autograd.grad(formula.square().sum(), weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        torch.testing.assert_close(mlp(residual, x), formula)


@pytest.mark.parametrize("watched", ["hook", "hook before", "other forward"])
def test_a_layer_that_somebody_watches_is_called(watched: str) -> None:
    module, x, residual = layer("plain"), torch.randn(5, 6), torch.randn(5, 4)
    if watched == "hook":
        module.register_forward_hook(lambda _, __, output: output * 0)
    elif watched == "hook before":
        module.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 0,))
        nn.init.zeros_(module.bias)
    else:
        module.forward = lambda x: torch.zeros(5, 4)  # type: ignore[method-assign]
    with torch.no_grad():
        assert not apply_linear(module, x, 1.7).any()
        assert torch.equal(add_linear(residual, module, x, 1.7), residual)
