"""`longclip prompt`."""

import subprocess
import sys

import pytest

import longclip
from longclip.text.tokenizer import clip_tokenizer
from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)

# 20 sentences of five tokens.
LONG = "A red boat waits. " * 20


def test_tokens_and_sentences(run: Run) -> None:  # noqa: F811
    outcome = run("prompt", "A lighthouse at dusk. An electroencephalography.")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "CLIP: 14 tokens, begin and end included; reads 77"
    assert lines[1].strip() == "a lighthouse at dusk . an electro·ence·ph·alo·graphy ."
    assert lines[2].split() == ["tokens", "from–to", "by", "77", "by", "248", "sentence"]
    assert lines[3].split() == ["5", "1–5", "read", "read", *["A", "lighthouse", "at", "dusk."]]
    assert "\x1b" not in outcome.out


def test_where_it_is_cut(run: Run) -> None:  # noqa: F811
    out = run("prompt", LONG + LONG + LONG[:-2] + ", too").out
    lines = out.splitlines()
    assert (
        lines[0]
        == "CLIP: 303 tokens, begin and end included; reads 77, so the last 226 are cut off"
    )
    read, between, never = lines[1].partition("|248 end here|")[0].partition("|77 end here|")
    assert between
    assert len(clip_tokenizer().encode([read])[0]) == 77
    assert len(clip_tokenizer().encode([read + never])[0]) == 248
    places = [line.split()[:4] for line in lines[3:] if "–" in line]
    assert places[14] == ["5", "71–75", "read", "read"]
    assert places[15] == ["5", "76–80", "cut", "read"]
    assert places[49][2:] == ["cut", "in"]
    assert places[50][2:] == ["cut", "cut"]


def test_weights(run: Run) -> None:  # noqa: F811
    text = "A (red boat:1.3) BREAK dusk"
    out = run("prompt", text).out
    assert "CLIP, window 1 of 2: 5 tokens" in out
    assert "weight 1.30: red boat\nBREAK: 2 windows" in out
    plain = run("prompt", text, "--no-weights").out
    assert "CLIP: 13 tokens" in plain
    assert "brackets and BREAK are plain text here" in plain


def test_negative_and_json_and_standard_input(run: Run) -> None:  # noqa: F811
    found = run("prompt", "-", "--negative", "fog", "--json", stdin="A boat.\nIt is réd.\n").json
    assert list(found) == ["prompt", "negative"]
    [window] = found["prompt"]["encoders"][0]["windows"]
    assert [sentence["text"] for sentence in window["sentences"]] == ["A boat.", "It is réd."]
    assert window["ids"] == clip_tokenizer().encode(["A boat. It is réd."])[0][1:-1]
    assert found["negative"]["encoders"][0]["windows"][0]["count"] == 3
    shown = run("prompt", "a boat", "--negative", "fog").out
    assert "prompt: CLIP: 4 tokens" in shown
    assert "negative: CLIP: 3 tokens" in shown


def test_nothing(run: Run) -> None:  # noqa: F811
    assert run("prompt", "").out.startswith("CLIP: 2 tokens, begin and end included; reads 77\n")


def test_a_checkpoint_says_how_many_it_reads(run: Run) -> None:  # noqa: F811
    longclip.save(longclip.stretch(longclip.load("nano"), 100), "longer")
    out = run("prompt", LONG, "--model", "longer").out
    assert out.startswith("longer: 102 tokens, begin and end included; reads 100, so the last 2")
    assert out.splitlines()[2].split()[2:8] == ["by", "77", "by", "100", "by", "248"]


def test_colours_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[33m" in run("prompt", LONG).out


def test_without_a_pipeline_nothing_else_is_needed() -> None:
    code = (
        "import sys\n"
        "for name in ('diffusers', 'transformers', 'torch'): sys.modules[name] = None\n"
        "sys.argv = ['longclip', 'prompt', 'a (red:1.2) boat']\n"
        "from longclip.cli import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert "weight 1.20: red" in done.stdout
