"""LoRA and textual inversion, loaded before `apply` and after it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from longclip.diffusion import PromptCut, apply, encode, undo
from tests.helpers.applied_pipelines import LONG, SLOTS, clips, embeds, same, tiny_pipeline
from tests.helpers.pipelines import SENTENCE, Family

peft = pytest.importorskip("peft")


class TestLoRA:
    @staticmethod
    def write(family: Family, directory: Path) -> Path:
        """A file with a LoRA for every text encoder, as diffusers writes it."""
        pipeline = tiny_pipeline(family)
        torch.manual_seed(0)
        layers = {}
        for slot in SLOTS[family]:
            config = peft.LoraConfig(
                r=2, target_modules=["q_proj", "v_proj", "fc2"], init_lora_weights=False
            )
            encoder = getattr(pipeline, slot)
            encoder.add_adapter(config)
            layers[f"{slot}_lora_layers"] = peft.get_peft_model_state_dict(encoder)
        type(pipeline).save_lora_weights(directory, **layers)
        return directory / "pytorch_lora_weights.safetensors"

    @pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
    @pytest.mark.parametrize("own", [True, False], ids=["stretched", "Long-CLIP"])
    def test_before_and_after(self, family: Family, own: bool, tmp_path: Path) -> None:
        given = {} if own else clips(family)
        file = self.write(family, tmp_path)
        plain = embeds(apply(tiny_pipeline(family), **given))

        before = tiny_pipeline(family)
        before.load_lora_weights(file)
        with_lora = embeds(before)
        adapted = embeds(apply(before, **given))
        after = apply(tiny_pipeline(family), **given)
        after.load_lora_weights(file)
        assert same(embeds(after), adapted)
        assert not torch.equal(adapted[0], plain[0])

        # Its scale, with diffusers' encoding and with ours; then without it, and back.
        scaled = embeds(after, lora_scale=0.5)
        assert not same(scaled, adapted)
        assert same(embeds(after), adapted)
        found = encode(after, LONG, lora_scale=0.5, weights=False)
        assert torch.equal(found.prompt_embeds, scaled[0])
        after.unload_lora_weights()
        assert same(embeds(after), plain)
        assert same(embeds(undo(before)), with_lora)

    def test_files_with_the_old_names(self, tmp_path: Path) -> None:
        """Those of transformers 4, which diffusers translates by a look at the encoder."""
        from safetensors.torch import load_file, save_file

        file = self.write("sd1", tmp_path)
        weights = load_file(file)
        names = [name.replace("text_encoder.encoder", "text_encoder.text_model.encoder")
                 for name in weights]  # fmt: skip
        save_file(dict(zip(names, weights.values(), strict=True)), file)
        pipeline = apply(tiny_pipeline("sd1"))
        plain = embeds(pipeline)
        pipeline.load_lora_weights(file)
        assert not same(embeds(pipeline), plain)

    def test_clip_skip(self, tmp_path: Path) -> None:
        pipeline = apply(tiny_pipeline("sd1"))
        plain = embeds(pipeline, clip_skip=1)
        pipeline.load_lora_weights(self.write("sd1", tmp_path))
        assert not same(embeds(pipeline, clip_skip=1), plain)

    def test_fused_weights_are_not_left_behind(self, tmp_path: Path) -> None:
        pipeline = tiny_pipeline("sd1")
        before = embeds(pipeline)
        apply(pipeline).load_lora_weights(self.write("sd1", tmp_path))
        adapted = embeds(pipeline)
        pipeline.fuse_lora(components=["text_encoder"])
        torch.testing.assert_close(embeds(pipeline)[0], adapted[0], rtol=1e-4, atol=1e-4)
        with pytest.raises(ValueError, match=r"was fused .* call pipeline\.unfuse_lora\(\)"):
            undo(pipeline)
        pipeline.unfuse_lora(components=["text_encoder"])
        torch.testing.assert_close(embeds(undo(pipeline))[0], before[0], rtol=1e-4, atol=1e-4)

    def test_fusing_in_a_long_clip_leaves_the_original(self, tmp_path: Path) -> None:
        pipeline = tiny_pipeline("sd1")
        before = embeds(pipeline)
        apply(pipeline, **clips("sd1")).load_lora_weights(self.write("sd1", tmp_path))
        pipeline.fuse_lora(components=["text_encoder"])
        assert same(embeds(undo(pipeline)), before)


class TestTextualInversion:
    WORDS = SENTENCE * 12 + "a <cat>"

    @staticmethod
    def load(pipeline: Any, vectors: int) -> None:
        random = torch.Generator().manual_seed(0)
        vector = torch.randn(vectors, 32, generator=random)
        pipeline.load_textual_inversion({"<cat>": vector}, token="<cat>")

    @pytest.mark.parametrize("vectors", [1, 3])
    @pytest.mark.parametrize("own", [True, False], ids=["stretched", "Long-CLIP"])
    def test_before_and_after(self, vectors: int, own: bool) -> None:
        given = {} if own else clips("sd1")
        before = tiny_pipeline("sd1")
        self.load(before, vectors)
        learnt = embeds(before, "a <cat>")
        apply(before, **given)
        after = apply(tiny_pipeline("sd1"), **given)
        plain = embeds(after, self.WORDS)
        self.load(after, vectors)
        assert same(embeds(after, self.WORDS), embeds(before, self.WORDS))
        assert not torch.equal(embeds(after, self.WORDS)[0], plain[0])
        assert same(embeds(undo(before), "a <cat>"), learnt)

        # What was learnt after goes with what it was put into.
        undo(after)
        words = len(tiny_pipeline("sd1").tokenizer)
        assert len(after.tokenizer) == after.text_encoder.config.vocab_size == words
        assert len(after.text_encoder.get_input_embeddings().weight) == words

    def test_vectors_count_as_tokens(self) -> None:
        pipeline = apply(tiny_pipeline("sd1"))
        self.load(pipeline, 5)
        # 244 tokens with the two at the ends, then the word of five vectors.
        text = "boat " * 242 + "<cat>"
        with pytest.warns(PromptCut, match="249 tokens, of which 248"):
            embeds(pipeline, text)

    def test_in_windows(self) -> None:
        pipeline = apply(tiny_pipeline("sd1"), overflow="chunk")
        self.load(pipeline, 3)
        first = embeds(pipeline, SENTENCE * 36 + "<cat>")
        assert not torch.equal(embeds(pipeline, SENTENCE * 36)[0], first[0])
