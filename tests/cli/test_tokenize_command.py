import json

from longclip.text.tokenizer import clip_tokenizer
from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)


def test_ids_and_count(run: Run) -> None:  # noqa: F811
    outcome = run("tokenize", "A red boat.")
    ids = clip_tokenizer().encode(["A red boat."])[0]
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        f"{len(ids)} tokens of 77, begin and end included",
        "ids: " + " ".join(map(str, ids)),
    ]


def test_what_is_cut_off_is_shown(run: Run) -> None:  # noqa: F811
    outcome = run("tokenize", "one two three four five", "--context-length", 5)
    assert outcome.out.splitlines()[0] == "7 tokens of 5, begin and end included"
    assert outcome.out.splitlines()[2:] == ["read: one two three", "cut off (2 tokens): four five"]


def test_json(run: Run) -> None:  # noqa: F811
    ids = clip_tokenizer().encode(["vier Häuser"])[0]
    outcome = run("tokenize", "vier Häuser", "--context-length", 4, "--json")
    assert "ä" in outcome.out
    kept, lost = (clip_tokenizer().decode(part) for part in (ids[1:3], ids[3:-1]))
    assert outcome.json == {
        "count": len(ids),
        "context_length": 4,
        "tokens_cut": len(ids) - 4,
        "read": kept,
        "cut": lost,
        "ids": ids,
    }
    assert lost


def test_a_text_that_just_fits(run: Run) -> None:  # noqa: F811
    found = run("tokenize", "one two three", "--context-length", 5, "--json").json
    assert (found["count"], found["tokens_cut"], found["cut"]) == (5, 0, "")


def test_standard_input(run: Run) -> None:  # noqa: F811
    text = "A boat.\nIt is red.\n"
    for words in ((), ("-",)):
        found = run("tokenize", *words, "--json", stdin=text).json
        assert found["read"] == "a boat . it is red ."


def test_special_tokens_in_a_text_are_text(run: Run) -> None:  # noqa: F811
    found = run("tokenize", "a <|endoftext|> b", "--json").json
    assert found["ids"].count(49407) == 1
    assert found["read"] == "a <| endoftext |> b"


def test_nothing(run: Run) -> None:  # noqa: F811
    assert json.loads(run("tokenize", "", "--json").out)["ids"] == [49406, 49407]


def test_a_context_without_room_is_refused_with_a_model_too(run: Run) -> None:  # noqa: F811
    outcome = run("tokenize", "a boat", "--model", "nano", "--context-length", "0")
    assert outcome.code == 1
    assert "--context-length is 0" in outcome.err
