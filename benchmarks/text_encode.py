"""Texts per second of CLIP text encoding: longclip beside transformers and open_clip.

    python benchmarks/text_encode.py --texts coco.jsonl docci.jsonl
    python benchmarks/text_encode.py  # summaries and descriptions of drawn scenes

All contestants hold the same weights (ViT-B/16's text tower, random, stretched to 248 tokens) in
the same precision, use the same number of threads, and include their own tokenization unless
`--ids-only` is given. First their embeddings of the same texts must agree. Then they take turns,
round after round, so that whatever else the machine does hits all alike; a contestant's time is
the median of its rounds.
"""

import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal
from unittest.mock import MagicMock

import cyclopts
import torch
from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from figures import Figure, record
from longclip import scenes
from longclip.model import CLIP, save
from longclip.model.architectures import ARCHITECTURES
from longclip.model.stretch import stretch
from longclip.model.transformer import Layer
from longclip.spec import EOT, LONG_CONTEXT
from longclip.text.tokenizer import tokenize
from longclip.util.hardware import fast_dtype

OURS = "longclip"
COLUMNS = ("corpus", "tokens/text", "contestant", "texts/s", "longclip/this")


@dataclass(frozen=True)
class Contestant:
    """One way from texts to embeddings: texts → batches of ids, and one batch → [B, D]."""

    name: str
    prepare: Callable[[Sequence[str]], list[Tensor]]
    encode: Callable[[Tensor], Tensor]


def transformers_contestants(model: CLIP, batch_size: int) -> list[Contestant]:
    """CLIPModel of transformers with its fast tokenizer, padded in the two usual ways.

    It gets no attention mask: pooling at the first end of text under causal attention needs none,
    and without one it takes torch's faster, purely causal path.
    """
    import transformers

    with tempfile.TemporaryDirectory() as parent:
        directory = Path(parent) / "clip"
        save(model, directory)
        network = transformers.CLIPModel.from_pretrained(
            directory, dtype=model.dtype, attn_implementation="sdpa"
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory)

    def padded(padding: str) -> Callable[[Sequence[str]], list[Tensor]]:
        options = {"padding": padding, "truncation": True, "max_length": LONG_CONTEXT}
        return lambda texts: [
            tokenizer(part, **options, return_tensors="pt")["input_ids"]
            for part in _parts(texts, batch_size)
        ]

    def encode(ids: Tensor) -> Any:
        return network.get_text_features(input_ids=ids).pooler_output

    return [
        Contestant(f"transformers, padded to {LONG_CONTEXT}", padded("max_length"), encode),
        Contestant(f"transformers, longest of {batch_size}", padded("longest"), encode),
    ]


def open_clip_contestant(model: CLIP, batch_size: int) -> Contestant:
    """open_clip's CLIP with its own tokenizer, which always pads to the context length."""
    # open_clip imports image transforms and a ResNet helper from torchvision, none of which text
    # encoding uses. Our environment has no torchvision, since one that does not match torch breaks
    # transformers too; a mock that answers to any name stands in for it.
    for module in ("", ".transforms", ".transforms.functional", ".ops", ".ops.misc"):
        sys.modules[f"torchvision{module}"] = MagicMock()
    import open_clip  # type: ignore[import-untyped]

    # The defaults of CLIPTextCfg are ViT-B/16's; the image tower is not used, so a tiny one does.
    network = open_clip.CLIP(
        model.config.projection_dim,
        open_clip.CLIPVisionCfg(layers=1, width=64, patch_size=112),
        open_clip.CLIPTextCfg(context_length=LONG_CONTEXT),
        quick_gelu=True,
    )
    network = network.to(model.dtype).eval()
    _share_weights(model, network)
    tokenizer = open_clip.SimpleTokenizer(context_length=LONG_CONTEXT)
    return Contestant(
        f"open_clip, padded to {LONG_CONTEXT}",
        lambda texts: [tokenizer(part) for part in _parts(texts, batch_size)],
        network.encode_text,
    )


def _share_weights(model: CLIP, network: Any) -> None:
    """Give open_clip's CLIP our text weights; it keeps q, k and v in one matrix."""
    tower = model.text_model
    network.token_embedding.weight = tower.embeddings.token_embedding.weight
    network.positional_embedding = tower.embeddings.position_embedding.weight
    network.text_projection = nn.Parameter(model.text_projection.weight.T.contiguous())
    pairs: list[tuple[Any, Any]] = [(network.ln_final, tower.final_layer_norm)]
    for block, layer in zip(network.transformer.resblocks, tower.encoder.layers, strict=True):
        assert isinstance(layer, Layer)
        attention = layer.self_attn
        three = (attention.q_proj, attention.k_proj, attention.v_proj)
        block.attn.in_proj_weight = nn.Parameter(torch.cat([part.weight for part in three]))
        block.attn.in_proj_bias = nn.Parameter(torch.cat([part.bias for part in three]))
        pairs += [(block.ln_1, layer.layer_norm1), (block.attn.out_proj, attention.out_proj)]
        pairs += [(block.mlp.c_fc, layer.mlp.fc1), (block.mlp.c_proj, layer.mlp.fc2)]
        pairs += [(block.ln_2, layer.layer_norm2)]
    for theirs, ours in pairs:
        theirs.weight, theirs.bias = ours.weight, ours.bias


@torch.inference_mode()
def check_agreement(contestants: Sequence[Contestant], texts: Sequence[str]) -> None:
    """Print how far the peers are from us; exit where it is more than rounding."""
    ids = [_real_ids(contestant.prepare(texts)) for contestant in contestants]
    # The tokenizer of transformers leaves out OpenAI's text repair: a few texts differ there.
    same = [text for text, *rows in zip(texts, *ids, strict=True) if len(set(rows)) == 1]
    print(f"same token ids everywhere: {len(same)} of {len(texts)} texts")
    outputs = [torch.cat([*map(each.encode, each.prepare(same[:24]))]) for each in contestants]
    ours, *theirs = (F.normalize(output.float(), dim=-1) for output in outputs)
    for peer, output, found in zip(contestants[1:], outputs[1:], theirs, strict=True):
        cosine = float((ours * found).sum(dim=-1).min())
        apart = float((ours - found).abs().max())
        print(f"{peer.name}: cosine with ours >= {cosine:.6f}, entries at most {apart:.1e} apart")
        if cosine < 0.999 or (output.dtype == torch.float32 and apart > 1e-5):
            raise SystemExit(f"{peer.name} and longclip disagree: times would mean nothing")


def measure(
    texts: Sequence[str], contestants: Sequence[Contestant], rounds: int, ids_only: bool
) -> list[dict[str, Any]]:
    """Time all contestants on one corpus, in turns; `seconds` holds one number per round."""
    ids = {each.name: each.prepare(texts) for each in contestants}
    seconds: dict[str, list[float]] = {each.name: [] for each in contestants}
    for each in contestants:  # the first call also pays for memory and the choice of kernels
        _seconds(each, texts[:64])
    for _ in range(rounds):
        for each in contestants:
            seconds[each.name].append(_seconds(each, texts, ids[each.name] if ids_only else ()))
    median = {name: statistics.median(times) for name, times in seconds.items()}
    return [
        {
            "tokens/text": round(statistics.fmean(map(len, _real_ids(ids[OURS]))), 1),
            "contestant": name,
            "texts/s": round(len(texts) / median[name], 2),
            "longclip/this": round(median[name] / median[OURS], 3),
            "texts": len(texts),
            "seconds": seconds[name],
        }
        for name in median
    ]


@torch.inference_mode()
def _seconds(who: Contestant, texts: Sequence[str], ids: Sequence[Tensor] = ()) -> float:
    start = time.perf_counter()
    for batch in ids or who.prepare(texts):
        who.encode(batch)
    return time.perf_counter() - start


def _parts(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    return (list(texts[start : start + size]) for start in range(0, len(texts), size))


def _real_ids(batches: Sequence[Tensor]) -> list[tuple[int, ...]]:
    """The ids of each text without its padding."""
    rows: list[list[int]] = [row for ids in batches for row in ids.tolist()]
    return [tuple(row[: row.index(EOT) + 1]) for row in rows]


def read_corpora(files: Sequence[Path], limit: int) -> dict[str, list[str]]:
    """`limit` random texts of each file, and as many from all of these together.

    Without files, of the short and of the long texts of drawn scenes.
    """
    dice = random.Random(0)
    corpora = {}
    for file in files:
        texts = [json.loads(line)["text"] for line in file.open(encoding="utf-8")]
        corpora[file.stem] = dice.sample(texts, min(limit, len(texts)))
    if not files:
        drawn = [scenes.make_scene("test", number) for number in range(limit)]
        corpora["scenes, short"] = [scenes.summarize(scene) for scene in drawn]
        corpora["scenes, long"] = [scenes.describe(scene) for scene in drawn]
    everything = [text for texts in corpora.values() for text in texts]
    return corpora | {"mixed": dice.sample(everything, min(limit, len(everything)))}


def _setting(precision: str, threads: int) -> str:
    versions = [f"{name} {version(name)}" for name in ("torch", "transformers", "open_clip_torch")]
    has = torch.cpu.get_capabilities()
    units = [f"{unit}: {has.get(unit, False)}" for unit in ("avx512_f", "avx512_bf16", "amx_bf16")]
    return ", ".join([*versions, precision, f"threads: {threads}", *units])


def main(
    *,
    texts: Annotated[list[Path], Parameter(consume_multiple=True)] = (),
    precision: Literal["auto", "bfloat16", "float32"] = "auto",
    threads: int = os.cpu_count() or 1,
    limit: int = 512,
    rounds: int = 3,
    batch_size: int = 64,
    ids_only: bool = False,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Compare the text encoding speed of longclip, transformers and open_clip.

    Args:
        texts: JSON lines files with a "text" in each row; texts of drawn scenes without.
        precision: of weights and activations; `auto` is the faster one of this processor.
        threads: for torch and for the tokenizers alike.
        limit: texts per corpus.
        rounds: turns of each contestant on each corpus.
        batch_size: texts per batch of the peers.
        ids_only: leave the tokenizers out of the time.
        json_file: where to write setting and results as well.
    """
    torch.set_num_threads(threads)
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # the pool of the Rust tokenizers
    if precision == "auto":
        precision = "bfloat16" if fast_dtype() == torch.bfloat16 else "float32"
    torch.manual_seed(0)
    model = stretch(CLIP(ARCHITECTURES["ViT-B/16"])).to(getattr(torch, precision)).eval()
    contestants = [
        # Ours takes the whole corpus at once and batches it by itself.
        Contestant(OURS, lambda texts: [tokenize(texts, warn=False)], model.encode_text),
        *transformers_contestants(model, batch_size),
        open_clip_contestant(model, batch_size),
    ]
    corpora = read_corpora(texts, limit)
    setting = _setting(precision, threads)
    print(setting)
    check_agreement(contestants, corpora["mixed"])
    results = [
        {"corpus": name} | row
        for name, chosen in corpora.items()
        for row in measure(chosen, contestants, rounds, ids_only)
    ]
    # Without a terminal rich prints plain text: no colours, and no box here.
    console = Console(width=None if sys.stdout.isatty() else 100)
    table = Table(*COLUMNS, box=box.ROUNDED if console.is_terminal else None)
    for row in results:
        table.add_row(*(str(row[column]) for column in COLUMNS))
    console.print(table)
    for name in corpora:
        speeds = {row["contestant"]: row["texts/s"] for row in results if row["corpus"] == name}
        best = max((peer for peer in speeds if peer != OURS), key=speeds.__getitem__)
        record(Figure(f"{name}, {precision}", "texts/s", speeds[OURS], best, speeds[best]))
    if json_file is not None:
        whole = {"setting": setting, "ids_only": ids_only, "results": results}
        json_file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(main)
