"""The part of a prompt that is read, against counting tokens one text at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longclip.diffusion.emphasis import unweighted
from longclip.diffusion.prompt_view import Window, as_json, view_prompt, windows_of
from longclip.diffusion.text_readers import clip_reader, open_readers, pipeline_readers
from longclip.text.tokenizer import clip_tokenizer
from tests.helpers.pipelines import tiny_pipeline

TEXT = "A lighthouse at dusk. A red boat waits below it. Dr. Ó Briain's 12 electroencephalographs!"


def tokens(text: str) -> list[int]:
    return clip_tokenizer().encode([text])[0][1:-1]


def window(text: str, context_length: int = 77) -> Window:
    [found] = windows_of(text, clip_reader(context_length), weights=False)
    return found


def test_sentences_and_their_places() -> None:
    found = window(TEXT).sentences()
    start = 1
    for sentence in found:
        count = len(tokens(sentence.text))
        assert (sentence.first, sentence.last) == (start, start + count - 1)
        start += count
    assert " ".join(sentence.text for sentence in found) == TEXT
    assert start - 1 == len(tokens(TEXT)) == window(TEXT).count - 2


def test_how_much_of_a_sentence_is_read() -> None:
    first, second, *_ = window(TEXT).sentences()
    assert (first.last, second.first) == (5, 6)
    assert [first.read(length) for length in (7, 6, 3, 2)] == ["whole", "part", "part", "not"]
    assert second.read(7) == "not"
    assert second.read(8) == "part"


@given(
    st.text("ab .,'!\nié5_", max_size=60) | st.sampled_from([TEXT, "don't stop", "a,b,c" * 9]),
    st.integers(3, 40),
)
def test_a_cut_keeps_what_fits_and_no_less(text: str, context_length: int) -> None:
    found = window(text)
    cut = found.cut_at(context_length)
    read = text[:cut]
    assert len(tokens(read)) <= context_length - 2
    assert tokens(read) == tokens(text)[: len(tokens(read))] or cut < len(text)
    rest = text[cut:].split()
    if len(tokens(text)) <= context_length - 2:
        assert not rest
    else:
        # One whole word more, marks and all, does not fit.
        end = text.index(rest[0], cut) + len(rest[0])
        assert len(tokens(text[:end])) > context_length - 2


def test_weights_and_breaks() -> None:
    view = view_prompt("A (red boat:1.3) BREAK [fog]", [clip_reader()])
    [(_, windows)] = view.encoders
    assert [found.ids for found in windows] == [tokens("A red boat"), tokens("fog")]
    assert [(piece.text, piece.weight) for piece in view.emphasis] == [
        ("red boat", 1.3),
        ("fog", pytest.approx(1 / 1.1)),
    ]
    [plain] = view_prompt("A (red boat:1.3)", [clip_reader()], weights=False).encoders[0][1]
    assert plain.ids == tokens("A (red boat:1.3)")
    assert view.has_syntax
    assert not view_prompt("A red boat", [clip_reader()]).has_syntax
    assert not view_prompt("", [clip_reader()]).has_syntax


def test_a_weight_in_the_middle_of_a_sentence() -> None:
    [found] = windows_of("A (red) boat. It (wa(it:2)s).", clip_reader(), weights=True)
    assert found.text == "A red boat. It waits."
    assert [(s.first, s.last) for s in found.sentences()] == [(1, 4), (5, len(found.ids))]
    assert found.ids == [
        id for part in ("A", "red", "boat. It", "wa", "it", "s", ".") for id in tokens(part)
    ]


def test_json() -> None:
    text = "one two three. " * 30 + "Four."
    found = as_json(view_prompt(text, [clip_reader(100)]))["encoders"][0]
    assert (found["name"], found["context_length"]) == ("CLIP", 100)
    [only] = found["windows"]
    assert only["ids"] == tokens(text)
    assert only["count"] == len(tokens(text)) + 2
    assert list(only["limits"]) == ["77", "100", "248"]
    short = only["limits"]["77"]
    assert short["tokens_cut"] == only["count"] - 77
    assert tokens(short["read"]) + tokens(short["cut"]) == tokens(text)
    assert len(tokens(short["read"])) == 75
    assert only["limits"]["248"] == {"tokens_cut": 0, "read": text, "cut": ""}
    assert only["sentences"][-1]["read"] == {"77": "not", "100": "not", "248": "whole"}


def test_a_character_of_several_tokens_is_shown_once() -> None:
    found = window("a 😀 cat 漢字")
    assert len(found.pieces) == len(found.ids)
    assert "".join(found.pieces).split() == ["a", "😀", "cat", "漢字"]


def test_added_tokens_of_a_pipeline() -> None:
    pipeline = tiny_pipeline("sdxl")
    pipeline.tokenizer.add_tokens(["<cat-toy>", "<cat-toy>_1"])
    first, second = pipeline_readers(pipeline)
    assert [first.name, second.name] == ["tokenizer", "tokenizer_2"]
    assert first.encode("a <cat-toy> here") == [*tokens("a"), 49408, 49409, *tokens("here")]
    assert second.encode("a <cat-toy> here") == tokens("a <cat-toy> here")
    [found] = (Window(section, first) for section in unweighted("a <cat-toy> here"))
    assert found.pieces == ["a ", "<cat-toy> ", "<cat-toy>_1 ", "here "]


def test_checkpoints_say_their_length() -> None:
    [reader] = open_readers("nano")
    assert (reader.name, reader.context_length) == ("nano", 77)
    with pytest.raises(ValueError, match="no model 'gone'"):
        open_readers("gone")
