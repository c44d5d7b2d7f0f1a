"""Sources with weights and policies."""

from pathlib import Path

import pytest

from longclip.data import (
    Captions,
    Mixture,
    ShardCache,
    TextPolicy,
    open_collection,
    open_training_data,
)
from longclip.data.mixture import read_mixture
from longclip.errors import DataError
from tests.helpers.shard_files import samples, write_tar
from tests.helpers.table_files import png, write_jsonl, write_parquet, write_png

pytest.importorskip("datasets")


def sources(folder: Path) -> Path:
    """Three in folders of their own, and the mixture beside them."""
    for name, count in (("one", 4), ("two", 6)):
        rows = [
            {"image": f"{i}.png", "short": f"{name} {i}", "story": "S. T."} for i in range(count)
        ]
        write_jsonl(folder / name / "t.jsonl", *rows)
        for i in range(count):
            write_png(folder / "pictures" / f"{i}.png", "red")
    write_tar(folder / "shards" / "s-0.tar", samples("red", "blue"))
    path = folder / "mix.toml"
    path.write_text(
        """
        [[source]]
        data = "one/t.jsonl"
        images = ["pictures"]
        weight = 0.5
        short = "without-first"
        columns = { long = "story" }

        [[source]]
        data = "two/t.jsonl"
        images = "pictures"
        weight = 2
        join_short = 3
        limit = 3

        [[source]]
        data = "shards/s-{0..0}.tar"
        weight = 1
        long = "subsampled"
        """
    )
    return path


def test_a_mixture(tmp_path: Path) -> None:
    path = sources(tmp_path)
    policy = TextPolicy(positives=2)
    cache = ShardCache(tmp_path / "cache")
    mixture = open_training_data([path], cache=cache)
    assert isinstance(mixture, Mixture)
    assert (len(mixture), mixture.name) == (9, "one/t + two/t + s-0")
    assert [(p.name, p.start, p.stop, p.weight) for p in mixture.parts] == [
        ("one/t", 0, 4, 0.5),
        ("two/t", 4, 7, 2),
        ("s-0", 7, 9, 1),
    ]
    policies = [mixture.policy_of(i, policy) for i in range(9)]
    assert policies == [
        *[TextPolicy("without-first", positives=2)] * 4,
        *[TextPolicy(join_short=3, positives=2)] * 3,
        *[TextPolicy(positives=2, long="subsampled")] * 2,
    ]
    assert mixture.captions(1) == Captions(("one 1",), ("S. T.",))
    assert mixture.captions(6) == Captions(("two 2",))
    assert mixture.captions(8) == Captions(("something blue",))
    assert mixture.image(8).getpixel((0, 0)) == (0, 0, 255)
    with pytest.raises(IndexError):
        mixture.captions(9)
    as_any_data = open_collection(path, cache=cache)
    assert isinstance(as_any_data, Mixture)
    assert len(as_any_data) == 9


def test_a_picture_in_two_sources_is_counted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_png(tmp_path / f"{name}.png", "red" if name == "a" else "blue")
    rows = [{"image": f"{name}.png", "short": name} for name in "ab"]
    write_jsonl(tmp_path / "one.jsonl", *rows)
    write_jsonl(tmp_path / "two.jsonl", {"image": str(tmp_path / "b.png"), "short": "b"})
    for name in ("three", "four"):
        write_parquet(tmp_path / f"{name}.parquet", image=[png("red")], short=["a"])

    def problems(*names: str) -> list[str]:
        return list(open_training_data([tmp_path / name for name in names]).problems)

    [line] = problems("one.jsonl", "two.jsonl")
    assert line.startswith("1 picture is in more than one source (")
    assert "/one and " in line
    [line] = problems("three.parquet", "four.parquet", "three.parquet")
    assert line.startswith("2 pictures are in more than one source (")
    assert problems("one.jsonl", "three.parquet") == [], "a file is not compared with bytes"
    scenes = open_training_data(["scenes/val", "scenes/test", "scenes/val"])
    assert scenes.problems[0].startswith(f"{len(open_collection('scenes/val')):,} pictures are in")
    assert open_training_data(["scenes/val"]).problems == ()


def test_blocks_of_shards_among_others(tmp_path: Path) -> None:
    mixture = open_training_data([sources(tmp_path)], cache=ShardCache(tmp_path / "cache"))
    assert mixture.blocks() == [
        *(range(2), range(2, 4)),
        *(range(4, 6), range(6, 7)),
        range(7, 9),
    ]
    assert open_training_data(["scenes", "scenes/val"]).blocks() == ()


def test_a_limit_cuts_blocks(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / "set" / f"{number}.tar", samples("red", "blue", "green"))
    (tmp_path / "mix.toml").write_text('[[source]]\ndata = "set"\nlimit = 4')
    mixture = open_training_data([tmp_path / "mix.toml"], cache=ShardCache(tmp_path / "cache"))
    assert mixture.blocks() == [range(3), range(3, 4)]


def test_what_is_named_on_the_command_line_has_no_weights(tmp_path: Path) -> None:
    sources(tmp_path)
    names = [tmp_path / "one/t.jsonl", str(tmp_path / "two/t.jsonl")]
    mixture = open_training_data(names, images=[tmp_path / "pictures"])
    assert [(p.start, p.stop, p.weight) for p in mixture.parts] == [(0, 4, None), (4, 10, None)]
    policy = TextPolicy(join_short=2)
    assert {mixture.policy_of(i, policy) for i in range(10)} == {policy}
    [part] = open_training_data(["scenes/val"]).parts
    assert part.name == "scenes/val"


def test_problems_name_their_source(tmp_path: Path) -> None:
    sources(tmp_path)
    (tmp_path / "empty").mkdir()
    for i in range(4):
        write_png(tmp_path / "one" / f"{i}.png", "red")
    mixture = open_training_data(
        [tmp_path / "one/t.jsonl", tmp_path / "shards"],
        images=[tmp_path / "empty"],
        cache=ShardCache(tmp_path / "cache"),
    )
    assert mixture.problems == ()
    rows = [{"image": name, "text": "A dog."} for name in ("gone.png", "../one/0.png")]
    write_jsonl(tmp_path / "three/t.jsonl", *rows)
    names = [tmp_path / "one/t.jsonl", tmp_path / "three/t.jsonl"]
    mixture = open_training_data(names, images=[tmp_path / "empty"])
    [line, twice] = mixture.problems
    assert twice.startswith("1 picture is in more than one source (one/t and three/t); where")
    assert mixture.missing == 1
    assert line.startswith("three/t: 1 of 2 rows left out: no such picture (gone.png) in")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("scenes", "scenes"),
        ("scenes/val", "scenes/val"),
        ("./scenes", Path("mixes/scenes")),
        ("https://host/{0..3}.tar", "https://host/{0..3}.tar"),
        ("owner/name:val", "owner/name:val"),
        ("owner/name", "owner/name"),
        ("there/name", Path("mixes/there/name")),
        ("shards/{0..3}.tar", Path("mixes/shards/{0..3}.tar")),
        ("t.parquet", Path("mixes/t.parquet")),
        ("/a/b", Path("/a/b")),
    ],
)
def test_paths_start_from_the_folder_of_the_mixture(
    data: str, expected: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixes/there/name").mkdir(parents=True)
    Path("mixes/mix.toml").write_text(f'[[source]]\ndata = "{data}"')
    [source] = read_mixture(Path("mixes/mix.toml"))
    assert source.data == expected
    assert type(source.data) is type(expected) or isinstance(expected, Path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[source]", r"mix\.toml cannot be read as TOML"),
        ("", r"mix\.toml: a mixture consists of tables \[\[source\]\]$"),
        ("seed = 3", r"consists of tables \[\[source\]\], not seed"),
        ("source = 3", r"consists of tables \[\[source\]\]"),
        ("source = [3]", "source 1 is no table"),
        ('[[source]]\nwieght = 2\ndata = "x"', "source 1: no such key: wieght; there are data, im"),
        ("[[source]]\nweight = 2", "source 1: `data` is missing"),
        ('[[source]]\ndata = ""', "source 1: data is empty; leave it out or give it a value"),
        ('[[source]]\ndata = "x"\nimages = ""', "source 1: images is empty; leave it out or"),
        ('[[source]]\ndata = "x"\nimages = [" "]', "source 1: images is empty; leave it out"),
        ('[[source]]\ndata = "x"\nimages = [3]', "source 1: images is 3, must be str"),
        ('[[source]]\ndata = "x"\nshort = ""', "source 1: short is empty; leave it out or"),
        ('[[source]]\ndata = "x"\ncolumns = {long = ""}', "columns: long is empty; leave it"),
        ("[[source]]\ndata = 2", "source 1: data is 2, must be str"),
        ('[[source]]\ndata = "x"\nlimit = true', "source 1: limit is True, must be int"),
        ('[[source]]\ndata = "x"\nlimit = -1', "limit is -1, must be 0"),
        ('[[source]]\ndata = "x"\nweight = 0', "weight is 0, must be above 0; leave the source"),
        ('[[source]]\ndata = "x"\nweight = nan', "weight is nan, must be above 0"),
        ('[[source]]\ndata = "x"\nshort = "none"', "source 1: short texts cannot be 'none', only"),
        ('[[source]]\ndata = "x"\nlong = "part"', "source 1: long texts cannot be 'part', only"),
        ('[[source]]\ndata = "x"\njoin_short = 0', "source 1: join_short is 0, must be at least 1"),
        ('[[source]]\ndata = "scenes"\nimages = "x"', "source 1: images is for tables and fold"),
        (
            '[[source]]\ndata = "scenes"\ncolumns = {long = "x"}',
            r"source 1: columns\.long is for tables and folders; scenes would not read it",
        ),
        ('[[source]]\ndata = "x"\ncolumns = {text = "t"}', "columns: no such key: text; there are"),
        (
            '[[source]]\ndata = "x"\nweight = 1\n[[source]]\ndata = "y"',
            "give every source a weight or none; missing of source 2",
        ),
        ('[[source]]\ndata = "other.toml"', "other.toml is a mixture, which cannot be mixed again"),
    ],
)
def test_mixtures_that_mean_nothing(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "mix.toml").write_text(text)
    with pytest.raises(DataError, match=says):
        open_training_data([tmp_path / "mix.toml"])


def test_a_mixture_of_itself(tmp_path: Path) -> None:
    (tmp_path / "mix.toml").write_text('[[source]]\ndata = "mix.toml"')
    with pytest.raises(DataError, match="cannot be mixed again"):
        open_collection(tmp_path / "mix.toml")


def test_a_mixture_stands_alone(tmp_path: Path) -> None:
    path = sources(tmp_path)
    with pytest.raises(DataError, match=r"mix\.toml is a mixture, which cannot be mixed again"):
        open_training_data(["scenes", path])
    with pytest.raises(DataError, match=r"gone\.toml cannot be read as TOML: .*No such file"):
        open_training_data([tmp_path / "gone.toml"])


@pytest.mark.parametrize("weight", ["1e308", "inf", "1000000001"])
def test_weights_whose_sum_could_be_no_number(weight: str, tmp_path: Path) -> None:
    path = tmp_path / "mixture.toml"
    path.write_text(f'[[source]]\ndata = "scenes"\nweight = {weight}\n' * 2)
    with pytest.raises(DataError, match=r"source 1: weight is .*, must be at most 1e\+09"):
        read_mixture(path)


def test_a_mixture_nested_too_deeply(tmp_path: Path) -> None:
    path = tmp_path / "mixture.toml"
    path.write_text("source = " + "[" * 100_000)
    with pytest.raises(DataError, match="cannot be read as TOML"):
        read_mixture(path)


def test_no_data_at_all() -> None:
    with pytest.raises(DataError, match="no data are named"):
        open_training_data([])
