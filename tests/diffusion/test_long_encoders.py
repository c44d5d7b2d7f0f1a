import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import longclip
from longclip.diffusion.encoders import (
    fused_layers,
    lengthened,
    load_text_tower,
    positions,
    replaced,
    text_tower,
)
from longclip.model import CLIP, CLIPConfig, TextConfig, VisionConfig
from tests.helpers.pipelines import (
    VOCABULARY,
    Family,
    randomize,
    text_config,
    tiny_clip,
    tiny_encoder,
    transformers,
)

peft = pytest.importorskip("peft")

KINDS = [("sd1", "text_encoder"), ("sd2", "text_encoder"), ("sdxl", "text_encoder_2")]
IDS = torch.tensor([[49406, *range(500, 515), 49407, *[49407] * 60]])
LONG_IDS = torch.tensor([[49406, *range(500, 700), *[49407] * 47]])


def table(encoder: Any) -> Tensor:
    return text_tower(encoder).embeddings.position_embedding.weight


def knowledge_preserved(old: Tensor, length: int) -> Tensor:
    """Long-CLIP's table, row by row."""
    ratio = (length - 20) / (len(old) - 20)
    rows = [old[p] for p in range(20)]
    for p in range(20, length):
        q = 20 + (p - 20) / ratio
        i = min(int(q), len(old) - 2)
        rows.append(old[i] + (q - i) * (old[i + 1] - old[i]))
    return torch.stack(rows)


def with_lora(encoder: Any) -> Any:
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "fc1"], init_lora_weights=False)
    encoder.add_adapter(config, "style")
    return encoder


@torch.no_grad()
def states(encoder: Any, ids: Tensor) -> list[Tensor]:
    output = encoder(ids, output_hidden_states=True)
    return [output[0], *output.hidden_states]


class TestLengthened:
    @pytest.mark.parametrize(("family", "slot"), KINDS)
    def test_table_and_configuration(self, family: Family, slot: str) -> None:
        encoder = tiny_encoder(family, slot)
        before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
        longer = lengthened(encoder, 248)
        assert type(longer) is type(encoder)
        assert torch.equal(table(longer)[:20], table(encoder)[:20])
        torch.testing.assert_close(table(longer), knowledge_preserved(table(encoder), 248))
        assert positions(longer) == longer.config.max_position_embeddings == 248
        assert text_tower(longer).config.max_position_embeddings == 248
        assert positions(encoder) == encoder.config.max_position_embeddings == 77
        after = encoder.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)

    @pytest.mark.parametrize(("family", "slot"), KINDS)
    def test_first_rows_are_the_originals(self, family: Family, slot: str) -> None:
        encoder = tiny_encoder(family, slot)
        longer = lengthened(encoder, 248)
        ids = torch.nn.functional.pad(IDS, (0, 248 - 77), value=49407)
        assert len(states(longer, ids)) == len(states(encoder, IDS))
        for new, old in zip(states(longer, ids), states(encoder, IDS), strict=True):
            if old.ndim == 3:
                new, old = new[:, :20], old[:, :20]
            torch.testing.assert_close(new, old, rtol=1e-5, atol=1e-5)

    def test_weights_are_shared(self) -> None:
        encoder = tiny_encoder("sd1")
        places = {weight.data_ptr() for weight in encoder.parameters()}
        own = [
            name
            for name, weight in lengthened(encoder, 248).named_parameters()
            if weight.data_ptr() not in places
        ]
        assert [name.removeprefix("text_model.") for name in own] == [
            "embeddings.position_embedding.weight"
        ]

    def test_they_move_together(self) -> None:
        encoder = tiny_encoder("sd1")
        longer = lengthened(encoder, 248).to(torch.bfloat16)
        assert text_tower(encoder).final_layer_norm.weight.dtype == torch.bfloat16
        assert longer.dtype == table(longer).dtype == torch.bfloat16

    def test_adding_tokens_leaves_the_original(self) -> None:
        encoder = tiny_encoder("sd1")
        longer = lengthened(encoder, 248)
        longer.resize_token_embeddings(VOCABULARY + 3)
        assert encoder.config.vocab_size == len(encoder.get_input_embeddings().weight) == VOCABULARY
        assert len(longer.get_input_embeddings().weight) == VOCABULARY + 3

    def test_long_enough(self) -> None:
        encoder = lengthened(tiny_encoder("sd1"), 248)
        assert lengthened(encoder, 248) is encoder
        with pytest.raises(ValueError, match="only lengthens"):
            lengthened(encoder, 100)

    def test_keep(self) -> None:
        encoder = tiny_encoder("sd1")
        longer = lengthened(encoder, 100, keep=50)
        assert torch.equal(table(longer)[:50], table(encoder)[:50])

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision(self, dtype: torch.dtype) -> None:
        encoder = tiny_encoder("sd1").to(dtype)
        longer = lengthened(encoder, 248)
        assert {weight.dtype for weight in longer.parameters()} == {dtype}
        assert torch.equal(table(longer)[:20], table(encoder)[:20])

    def test_lora_layers(self) -> None:
        plain = lengthened(tiny_encoder("sd1"), 248)
        adapted = lengthened(with_lora(tiny_encoder("sd1")), 248)
        afterwards = with_lora(lengthened(tiny_encoder("sd1"), 248))
        assert torch.equal(states(adapted, LONG_IDS)[0], states(afterwards, LONG_IDS)[0])
        assert not torch.equal(states(adapted, LONG_IDS)[0], states(plain, LONG_IDS)[0])


def built_anew(encoder: Any, source: CLIP, layers: int) -> Any:
    """The source's text tower as transformers makes it from a configuration and weights."""
    config = copy.deepcopy(encoder.config)
    config.max_position_embeddings = source.context_length
    config.num_hidden_layers = layers
    expected = type(encoder)(config).eval()
    weights = source.text_model.state_dict()
    mine = text_tower(expected).state_dict()
    text_tower(expected).load_state_dict({name: weights[name] for name in mine})
    if hasattr(expected, "text_projection"):
        expected.text_projection.load_state_dict(source.text_projection.state_dict())
    return expected


class TestReplaced:
    @pytest.mark.parametrize(("family", "slot"), KINDS)
    def test_it_computes_what_the_source_does(self, family: Family, slot: str) -> None:
        encoder, source = tiny_encoder(family, slot), tiny_clip(family, slot)
        longer = replaced(encoder, source, 248)
        expected = built_anew(encoder, source, layers=3 if family == "sd2" else 4)
        assert type(longer) is type(encoder)
        assert longer.state_dict().keys() == expected.state_dict().keys()
        for new, old in zip(states(longer, LONG_IDS), states(expected, LONG_IDS), strict=True):
            assert torch.equal(new, old)
        assert longer.config.max_position_embeddings == 248
        assert positions(encoder) == 77

    def test_the_embedding_is_the_sources(self) -> None:
        """Against our own tower, which is another implementation."""
        source = tiny_clip("sdxl", "text_encoder_2")
        longer = replaced(tiny_encoder("sdxl", "text_encoder_2"), source, 248)
        found = states(longer, LONG_IDS)[0]
        with torch.no_grad():
            expected = source.text_features(LONG_IDS)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    def test_nothing_is_shared_with_the_source(self) -> None:
        source = tiny_clip("sd1")
        longer = replaced(tiny_encoder("sd1"), source, 248)
        places = {weight.data_ptr() for weight in source.parameters()}
        assert places.isdisjoint(weight.data_ptr() for weight in longer.parameters())

    def test_a_short_source_is_stretched(self) -> None:
        source = tiny_clip("sd1", context_length=77)
        found = replaced(tiny_encoder("sd1"), source, 248)
        expected = replaced(tiny_encoder("sd1"), longclip.stretch(source), 248)
        assert torch.equal(states(found, LONG_IDS)[0], states(expected, LONG_IDS)[0])

    def test_dtype_and_frozen_weights(self) -> None:
        encoder = tiny_encoder("sd1").to(torch.bfloat16).requires_grad_(False)
        longer = replaced(encoder, tiny_clip("sd1"), 248)
        assert {weight.dtype for weight in longer.parameters()} == {torch.bfloat16}
        assert not any(weight.requires_grad for weight in longer.parameters())

    def test_added_tokens_stay(self) -> None:
        encoder, source = tiny_encoder("sd1"), tiny_clip("sd1")
        encoder.resize_token_embeddings(VOCABULARY + 2)
        rows = replaced(encoder, source, 248).get_input_embeddings().weight
        assert torch.equal(rows[:VOCABULARY], source.text_model.embeddings.token_embedding.weight)
        assert torch.equal(rows[VOCABULARY:], encoder.get_input_embeddings().weight[VOCABULARY:])

    @pytest.mark.parametrize(("family", "slot"), KINDS)
    def test_lora_layers_stay(self, family: Family, slot: str) -> None:
        source = tiny_clip(family, slot)
        before = replaced(with_lora(tiny_encoder(family, slot)), source, 248)
        after = with_lora(replaced(tiny_encoder(family, slot), source, 248))
        for new, old in zip(states(before, LONG_IDS), states(after, LONG_IDS), strict=True):
            assert torch.equal(new, old)
        plain = replaced(tiny_encoder(family, slot), source, 248)
        assert not torch.equal(states(before, LONG_IDS)[0], states(plain, LONG_IDS)[0])


def changed(**changes: Any) -> CLIP:
    config = text_config("sd1").to_dict() | changes
    text = TextConfig.from_json(config)
    return CLIP(CLIPConfig(text=text, vision=None, projection_dim=32))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: changed(hidden_size=64), "width 64, not 32"),
        (lambda: changed(intermediate_size=96), "inner width 96, not 64"),
        (lambda: changed(num_attention_heads=4), "heads 4, not 2"),
        (lambda: changed(hidden_act="gelu"), "activation gelu, not quick_gelu"),
        (lambda: changed(num_hidden_layers=3), "layers 3, not 4"),
        (lambda: changed(vocab_size=VOCABULARY + 1), "tokens 49409, not 49408"),
        (lambda: changed(hidden_size=64, hidden_act="gelu"), "width 64, not 32; activation gelu"),
    ],
)
def test_sources_that_do_not_fit(source: Callable[[], CLIP], message: str) -> None:
    with pytest.raises(ValueError, match=f"CLIPTextModel: .*{message}.*ViT-L/14"):
        replaced(tiny_encoder("sd1"), source(), 248)


def test_projections_that_do_not_fit() -> None:
    encoder = tiny_encoder("sdxl", "text_encoder_2")
    text = TextConfig.from_json(text_config("sdxl", "text_encoder_2").to_dict())
    for more, message in [
        ({"projection_dim": 24}, "projection 24, not 40"),
        ({"projection_dim": None}, "projection None, not 40"),
        ({"projection_dim": 40, "text_projection_bias": True}, "projection 40 with a bias, not 40"),
    ]:
        with pytest.raises(ValueError, match=message):
            replaced(encoder, CLIP(CLIPConfig(text=text, vision=None, **more)), 248)


def test_quantized_encoders() -> None:
    encoder = tiny_encoder("sd1")
    weight = text_tower(encoder).encoder.layers[0].mlp.fc1
    weight.weight = torch.nn.Parameter(weight.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match="quantized"):
        replaced(encoder, tiny_clip("sd1"), 248)


def test_fused_loras() -> None:
    encoder = with_lora(tiny_encoder("sd1"))
    assert not fused_layers(encoder)
    for module in encoder.modules():
        if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
            module.merge()
    assert len(fused_layers(encoder)) == 8
    with pytest.raises(ValueError, match="unfuse_lora"):
        replaced(encoder, tiny_clip("sd1"), 248)


def test_sources_are_opened(tmp_path: Any) -> None:
    given = tiny_clip("sd1")
    assert load_text_tower(given) is given
    longclip.save(given, tmp_path / "clip")
    opened = load_text_tower(tmp_path / "clip")
    assert torch.equal(
        opened.text_model.embeddings.position_embedding.weight,
        given.text_model.embeddings.position_embedding.weight,
    )
    image_tower = CLIP(CLIPConfig(text=None, vision=VisionConfig(32, 32, 1, 1, image_size=32)))
    with pytest.raises(ValueError, match="image tower alone"):
        load_text_tower(image_tower)


def test_the_weights_are_random_enough() -> None:
    """Every position and token of a tiny encoder shows in what it computes."""
    encoder = randomize(transformers.CLIPTextModel(text_config("sd1")), seed=9)
    ids = IDS.clone()
    ids[0, 10] += 1
    assert not torch.equal(states(encoder, ids)[0][:, 10:], states(encoder, IDS)[0][:, 10:])
