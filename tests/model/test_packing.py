"""Packed texts are the padded ones: embeddings, gradients, memory limits."""

import copy
import itertools
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import longclip
from longclip.model import CLIP
from longclip.model.packing import PackedTexts, pack, varlen_attention
from tests.helpers.models import small_clip

BOS, EOT = 49406, 49407
CPU = torch.device("cpu")

ids_of_a_text = st.lists(st.integers(0, 49405), max_size=246).map(lambda x: [BOS, *x, EOT])


def slow_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    window_size: tuple[int, int] = (-1, -1),
) -> Tensor:
    """The kernel's contract, one sequence and one query at a time."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert window_size in ((-1, -1), (-1, 0))
    rows = []
    for text in range(len(cu_seq_q) - 1):
        keys = slice(int(cu_seq_k[text]), int(cu_seq_k[text + 1]))
        queries = query[int(cu_seq_q[text]) : int(cu_seq_q[text + 1])]
        assert len(queries) <= max_q
        assert len(key[keys]) <= max_k
        for place, one in enumerate(queries):
            seen = place + 1 if window_size == (-1, 0) else len(key[keys])
            scores = torch.einsum("hw,khw->hk", one, key[keys][:seen]) * one.shape[-1] ** -0.5
            rows.append(torch.einsum("hk,khw->hw", scores.softmax(-1), value[keys][:seen]))
    return torch.stack(rows)


class Counting:
    """`slow_attention` that notes how many tokens each call has."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def __call__(self, query: Tensor, key: Tensor, *rest: object, **more: object) -> Tensor:
        self.tokens.append(len(key))
        return slow_attention(query, key, *rest, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model() -> CLIP:
    return longclip.stretch(small_clip())


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    """Texts are packed here too."""
    attention = Counting()
    monkeypatch.setattr("longclip.model.clip.varlen_attention", lambda *_: attention)
    yield attention
    assert attention.tokens


def rectangle(texts: list[list[int]], padding: int = EOT) -> Tensor:
    ids = torch.full((len(texts), max(map(len, texts))), padding)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    return ids


@settings(max_examples=15)
@given(
    texts=st.lists(ids_of_a_text, min_size=1, max_size=5),
    budget=st.sampled_from([1, 100, 300, 8192]),
    padding=st.sampled_from([0, EOT, 7]),
)
def test_packed_equals_padded(texts: list[list[int]], budget: int, padding: int) -> None:
    model = longclip.stretch(small_clip())
    ids = rectangle(texts, padding)
    with torch.inference_mode():
        expected = model.text_features(ids)
        ends = torch.tensor([len(text) - 1 for text in texts])
        found = model._packed_features(ids, ends, budget, slow_attention)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


TEXTS = [[BOS, 5, 9, 5, EOT], [BOS, 9, EOT], [BOS, *range(7, 60), EOT], [BOS, EOT], [EOT]]


def gradients(model: CLIP, budget: int) -> dict[str, Tensor]:
    weights = torch.randn(len(TEXTS), 24, generator=torch.Generator().manual_seed(0))
    model.zero_grad(set_to_none=True)
    (model.text_features(rectangle(TEXTS), token_budget=budget) * weights).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if name.startswith("text_")}
    return {name: grad for name, grad in found.items() if grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("budget", [20, 8192])
def test_gradients_are_those_of_padded_texts(
    budget: int, checkpointing: bool, model: CLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copy.deepcopy(model).double()
    expected = gradients(model, 8192)
    attention = Counting()
    monkeypatch.setattr("longclip.model.clip.varlen_attention", lambda *_: attention)
    model.activation_checkpointing(checkpointing)
    found = gradients(model, budget)
    # Two layers in each of one or three micro-batches, and once more in backward.
    calls = 2 * (3 if budget == 20 else 1) * (2 if checkpointing else 1)
    assert len(attention.tokens) == calls
    assert expected.keys() == found.keys()
    assert len(found) == 37
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: n + m
        )


def test_encoding_packs_by_itself(model: CLIP, packing: Counting) -> None:
    texts = ["a red boat on a lake", "a house", "a dog behind the house, under a tree"]
    found = model.encode_text(texts, token_budget=12)
    assert found.shape == (3, 24)
    assert packing.tokens == [12, 12, 11, 11], "eight tokens and four, then eleven; two layers"


def test_nothing_is_computed_for_padding(model: CLIP, packing: Counting) -> None:
    model.text_features(rectangle(TEXTS))
    assert packing.tokens == [sum(map(len, TEXTS))] * 2


@pytest.mark.parametrize("learning", [False, True])
def test_a_cpu_packs_texts_sorted_by_length(learning: bool, model: CLIP) -> None:
    seen: list[tuple[torch.Size, list[int]]] = []

    def note(_: object, inputs: tuple[Tensor], options: dict[str, PackedTexts]) -> None:
        seen.append((inputs[0].shape, options["texts"].starts.diff().tolist()))

    hook = model.text_model.encoder.layers[0].register_forward_pre_hook(note, with_kwargs=True)
    with torch.set_grad_enabled(learning):
        found = model.text_features(rectangle(TEXTS))
    hook.remove()
    assert seen == [(torch.Size([66, 32]), [1, 2, 3, 5, 55])]
    alone = [model.text_features(rectangle([text])) for text in TEXTS]
    torch.testing.assert_close(found, torch.cat(alone))


@given(lengths=st.lists(st.integers(1, 248), min_size=1, max_size=60), budget=st.integers(1, 3000))
def test_micro_batches_hold_whole_texts_within_budget(lengths: list[int], budget: int) -> None:
    parts = list(pack(torch.tensor(lengths), budget, slow_attention, CPU))
    sizes = [[int(n) for n in texts.starts.diff()] for _, texts in parts]
    assert [n for part in sizes for n in part] == lengths
    token = 0
    for (part, texts), here in zip(parts, sizes, strict=True):
        assert (part.start, part.stop) == (token, token + sum(here))
        assert len(here) == 1 or sum(here) <= budget
        assert texts.longest == max(here)
        assert texts.starts[0] == 0
        assert texts.starts.dtype == torch.int32
        assert texts.positions.tolist() == [place for n in here for place in range(n)]
        assert texts.positions[texts.ends].tolist() == [n - 1 for n in here]
        token = part.stop
    for one, after in itertools.pairwise(sizes):
        assert sum(one) + after[0] > budget, "no smaller than need be"


def test_texts_do_not_see_each_other_nor_what_comes_later(model: CLIP) -> None:
    """A changed token changes what follows in its own text and nothing else."""
    _, texts = next(iter(pack(torch.tensor([4, 5, 3]), 99, slow_attention, CPU)))
    stream = torch.randn(12, 32, generator=torch.Generator().manual_seed(1))
    changed = stream.clone()
    changed[6] *= -1  # adding a constant would not pass the LayerNorm
    layer = model.text_model.encoder.layers[0]
    with torch.inference_mode():
        difference = layer(changed, causal=True, texts=texts) - layer(
            stream, causal=True, texts=texts
        )
    assert difference.abs().amax(dim=1).gt(1e-6).nonzero().flatten().tolist() == [6, 7, 8]


def test_ends_alone_are_the_ends_of_all(model: CLIP) -> None:
    _, texts = next(iter(pack(torch.tensor([4, 1, 3]), 99, slow_attention, CPU)))
    stream = torch.randn(8, 32, generator=torch.Generator().manual_seed(1))
    layer = model.text_model.encoder.layers[0]
    with torch.inference_mode():
        everywhere = layer(stream, causal=True, texts=texts)
        at_ends = layer.at_ends(stream, texts)
    torch.testing.assert_close(at_ends, everywhere[[3, 4, 7]])


def test_no_kernel_no_packing() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert varlen_attention(torch.zeros(1, dtype=dtype), 64) is None


def test_the_kernel_takes_our_call() -> None:
    """Its shapes forward and backward, which torch works out without a device."""
    varlen = pytest.importorskip("torch.nn.attention.varlen", reason="torch has no such kernel")
    starts = torch.zeros(4, device="meta", dtype=torch.int32)
    texts = PackedTexts(torch.zeros(9, device="meta"), starts, 5, varlen.varlen_attn)
    shape = {"device": "meta", "dtype": torch.bfloat16, "requires_grad": True}
    query, key, value = (torch.zeros(9, 2, 64, **shape) for _ in range(3))
    everywhere = texts.attend(query, key, value)
    at_ends = texts.attend_from_ends(query[texts.ends], key, value)
    assert (everywhere.shape, at_ends.shape) == ((9, 2, 64), (3, 2, 64))
    (everywhere.sum() + at_ends.sum()).backward()
    assert query.grad is not None
    assert query.grad.shape == (9, 2, 64)


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@cuda
def test_when_the_kernel_serves() -> None:
    half, full = (torch.zeros(1, device="cuda", dtype=t) for t in (torch.bfloat16, torch.float32))
    assert varlen_attention(half, 64) is not None
    assert varlen_attention(half, 20) is None
    assert varlen_attention(half, 512) is None
    assert varlen_attention(full, 64) is None
    with torch.autocast("cuda", torch.bfloat16):
        assert varlen_attention(full, 64) is not None


@cuda
def test_the_kernel_is_the_slow_attention() -> None:
    lengths = torch.tensor([70, 1, 248, 3, 129])
    generator = torch.Generator("cuda").manual_seed(0)
    shape = (3, int(lengths.sum()), 8, 64)
    query, key, value = torch.randn(shape, device="cuda", generator=generator).bfloat16()
    kernel = varlen_attention(query, 64)
    assert kernel is not None
    device = torch.device("cuda")
    [(_, fast)] = pack(lengths, 999, kernel, device)
    [(_, slow)] = pack(lengths, 999, slow_attention, device)
    assert isinstance(fast, PackedTexts)
    exact = (query.float(), key.float(), value.float())
    torch.testing.assert_close(
        fast.attend(query, key, value).float(), slow.attend(*exact), rtol=0, atol=0.02
    )
    at_ends = fast.attend_from_ends(query[fast.ends], key, value).float()
    expected = slow.attend_from_ends(exact[0][slow.ends], *exact[1:])
    torch.testing.assert_close(at_ends, expected, rtol=0, atol=0.02)


@cuda
@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_on_the_device_is_training_in_float32(model: CLIP, checkpointing: bool) -> None:
    """Packed under autocast against padded in float32: gradients point the same way."""
    device = longclip.stretch(small_clip()).cuda()
    device.activation_checkpointing(checkpointing)
    expected = gradients(device, 8192)
    with torch.autocast("cuda", torch.bfloat16):
        assert device._packed_attention() is not None
        found = gradients(device, 40)
    for name, gradient in expected.items():
        if "k_proj.bias" not in name:  # zero but for rounding: softmax does not see it
            cosine = F.cosine_similarity(found[name].flatten(), gradient.flatten(), dim=0)
            assert cosine > 0.99, name
