"""Checkpoints of every layout with something changed in one of their files."""

import contextlib
import functools
import io
import json
import pickletools
import random
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import longclip
from longclip.checkpoints.formats.openai import from_huggingface
from longclip.model import CLIPConfig, TextConfig, VisionConfig
from tests.checkpoints.test_checkpoint import Shell
from tests.helpers.models import small_clip

Files = dict[str, bytes]

_CONFIG = CLIPConfig(
    TextConfig(64, 64, 1, 1, vocab_size=40, max_position_embeddings=8, eos_token_id=39),
    VisionConfig(64, 64, 1, 1, image_size=16, patch_size=8),
    projection_dim=8,
)
_NONSENSE: list[Any] = [
    None, True, -1, 0, 1, 3, 4.0, 1e308, float("nan"), 2**31, 2**63, 10**30, "x", "", [], [1], {},
    {"a": 1}, "1", [[]], "gelu", "A" * 5000,
]  # fmt: skip
_SIZES = [0, 1, 2, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]


def attempt(seed: int, folder: Path) -> None:
    """Change one of the checkpoints and load it."""
    chance = random.Random(seed)
    files = dict(chance.choice(list(_checkpoints().values())))
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        name = chance.choice(sorted(files))
        files[name] = _changed(name, files[name], chance)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        longclip.load(folder if len(files) > 1 and chance.random() < 0.7 else folder / name)


@functools.cache
def _checkpoints() -> dict[str, Files]:
    """One small checkpoint of each layout: its files by name."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, directory = small_clip(_CONFIG).half(), Path(name)
        longclip.save(model, directory / "hf")
        weights = ("config.json", "preprocessor_config.json", "model.safetensors")
        hf = {file: (directory / "hf" / file).read_bytes() for file in weights}
        own = {key: t.clone() for key, t in from_huggingface(model.state_dict()).items()}
        numbers = {"input_resolution": 16, "context_length": 8, "vocab_size": 40}
        shell = Shell(own)
        for key, value in numbers.items():
            shell.register_buffer(key, torch.tensor(value))
        torch.jit.save(torch.jit.script(shell), directory / "script.pt")
        state = own | {key: torch.tensor(value) for key, value in numbers.items()}
        long = own | {"positional_embedding_res": own["positional_embedding"]}
        training = {
            "epoch": 3,
            "state_dict": {f"module.{key}": t for key, t in own.items()},
            "optimizer": {"state": {0: {"step": 1, "exp": own["text_projection"]}}},
        }
        plain = {key: t.clone() for key, t in model.state_dict().items()}
        save_file(plain, directory / "bare.safetensors")
        openclip = {
            "embed_dim": 8,
            "vision_cfg": {
                "image_size": 16, "layers": 1, "width": 64, "patch_size": 8, "mlp_ratio": 1.0,
            },
            "text_cfg": {
                "context_length": 8, "vocab_size": 40, "width": 64, "heads": 1, "layers": 1,
                "mlp_ratio": 1.0,
            },
        }  # fmt: skip
        return {
            "hf": hf,
            "hf pickled": {
                **{file: hf[file] for file in weights[:2]},
                "pytorch_model.bin": _saved(plain),
            },
            "shards": {
                "config.json": hf["config.json"],
                "model-1.safetensors": hf["model.safetensors"],
                "model.safetensors.index.json": json.dumps(
                    {"weight_map": dict.fromkeys(plain, "model-1.safetensors")}
                ).encode(),
            },
            "bare": {"bare.safetensors": (directory / "bare.safetensors").read_bytes()},
            "script": {"script.pt": (directory / "script.pt").read_bytes()},
            "state": {"state.pt": _saved(state)},
            "legacy": {"legacy.pt": _saved(state, zipped=False)},
            "long": {"long.pt": _saved(long)},
            "training": {"epoch.pt": _saved(training)},
            "openclip": {
                "open_clip_config.json": json.dumps({"model_cfg": openclip}).encode(),
                "open_clip_pytorch_model.bin": _saved(own),
            },
        }


def _saved(content: object, *, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def _changed(name: str, content: bytes, chance: random.Random) -> bytes:
    """Change a file in a way that suits its kind, or any of its bytes."""
    try:
        if chance.random() < 0.15 or len(content) < 100:
            return _other_bytes(content, chance)
        if name.endswith(".json"):
            return _other_json(content, chance)
        if name.endswith(".safetensors"):
            return _other_header(content, chance)
        if content.startswith(b"PK"):
            return _other_archive(content, chance)
        return _other_pickle(content[:20_000], chance) + content[20_000:]
    except (ValueError, LookupError, RuntimeError, EOFError, struct.error, zipfile.BadZipFile):
        return _other_bytes(content, chance)  # changed once before, it is of no kind any more


def _other_bytes(content: bytes, chance: random.Random) -> bytes:
    whole = bytearray(content)
    for _ in range(chance.choice([1, 1, 3, 10])):
        if not whole:
            break
        # What decides stands at the beginning and at the end.
        edge = min(len(whole), chance.choice([16, 400, 5000]))
        at = (
            chance.randrange(edge)
            if chance.random() < 0.5
            else len(whole) - 1 - chance.randrange(edge)
        )
        kind = chance.randrange(5)
        if kind == 0:
            whole[at] = chance.randrange(256)
        elif kind == 1:
            del whole[at : at + chance.choice([1, 8, 100])]
        elif kind == 2:
            whole[at:at] = chance.randbytes(chance.choice([1, 4, 8, 64]))
        elif kind == 3:
            del whole[at:]
        else:
            whole[at : at + 8] = struct.pack("<Q", chance.choice(_SIZES))
    return bytes(whole)


def _other_json(content: bytes, chance: random.Random) -> bytes:
    values = json.loads(content)
    part, key = _place(values, chance)
    kind = chance.randrange(5)
    if kind == 0:
        del part[key]
    elif kind == 1:
        part[key] = chance.choice(_NONSENSE)
    elif kind == 2 and isinstance(part[key], int | float):
        part[key] = part[key] * chance.choice([2, 3, 0.5, -1, 1.0, 10**9])
    elif kind == 3:
        return json.dumps(values).replace(json.dumps(part[key]), "[" * 100_000, 1).encode()
    else:
        other, other_key = _place(values, chance)
        part[key] = json.loads(json.dumps(other[other_key]))
    return json.dumps(values).encode()


def _place(values: Any, chance: random.Random) -> tuple[Any, Any]:
    """Return an object or list somewhere in a JSON value, and one of its keys."""
    key = chance.choice(list(values) if isinstance(values, dict) else range(len(values)))
    inner = values[key]
    return (
        _place(inner, chance)
        if isinstance(inner, dict | list) and inner and chance.random() < 0.8
        else (values, key)
    )


def _other_header(content: bytes, chance: random.Random) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    header = _other_json(content[8 : 8 + length], chance)
    stated = len(header) if chance.random() < 0.9 else chance.choice(_SIZES)
    return struct.pack("<Q", stated) + header + content[8 + length :]


def _other_archive(content: bytes, chance: random.Random) -> bytes:
    made = io.BytesIO()
    changes: dict[int, Callable[[bytes], bytes]] = {
        0: lambda data: _other_pickle(data, chance),
        1: lambda data: _other_bytes(data, chance),
    }
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        entries = old.infolist()
        victim = chance.choice(entries).filename if chance.random() < 0.3 else "data.pkl"
        for entry in entries:
            data = old.read(entry)
            if entry.filename.endswith(victim):
                kind = chance.choice([0, 0, 0, 1, 2])
                if kind == 2 and victim != "data.pkl":
                    continue
                data = changes[kind % 2](data)
            new.writestr(entry.filename, data)
    return made.getvalue()


def _other_pickle(content: bytes, chance: random.Random) -> bytes:
    """Change, repeat, leave out, exchange or put in instructions, or their arguments."""
    starts = []
    with contextlib.suppress(ValueError):  # behind the first pickle is another, or no pickle at all
        starts.extend(at for _, _, at in pickletools.genops(content) if at is not None)
    if len(starts) < 3:
        return _other_bytes(content, chance)
    pieces = [content[a:b] for a, b in zip(starts, [*starts[1:], len(content)], strict=True)]
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.randrange(len(pieces))
        kind = chance.randrange(7)
        if kind == 0:
            del pieces[at]
        elif kind == 1:
            pieces.insert(at, pieces[chance.randrange(len(pieces))])
        elif kind == 2:
            pieces[at] = pieces[chance.randrange(len(pieces))]
        elif kind == 3:
            pieces.insert(at, _hostile(chance))
        elif kind == 4:
            pieces[at] = (
                bytes([chance.choice(pickletools.opcodes).code.encode("latin-1")[0]])
                + pieces[at][1:]
            )
        elif kind == 5:
            numbers = [i for i, piece in enumerate(pieces) if piece[:1] in b"KMJ"]
            if numbers:
                pieces[chance.choice(numbers)] = b"J" + struct.pack(
                    "<I", chance.choice(_SIZES) % 2**32
                )
        else:
            pieces[at] = _other_bytes(pieces[at], chance)
        if not pieces:
            break
    return b"".join(pieces)


def _hostile(chance: random.Random) -> bytes:
    size = chance.choice(_SIZES)
    return chance.choice(
        [
            b"r" + struct.pack("<I", size % 2**32),
            b"\x8e" + struct.pack("<Q", size),
            b"\x8d" + struct.pack("<Q", size),
            b"\x96" + struct.pack("<Q", size),
            b"\x95" + struct.pack("<Q", size),
            b"\x8b" + struct.pack("<I", size % 2**32),
            b"X" + struct.pack("<I", size % 2**32),
            b"T" + struct.pack("<I", size % 2**32),
            b"(" * 1000,
            b"]" * 1000,
            b"2" * 1000,
            b"cposix\nsystem\n",
            b"c__torch__\nX\n)\x81",
        ]
    )
