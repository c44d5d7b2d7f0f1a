"""Published numbers: the file of them, and what is refused in one."""

from pathlib import Path

import pytest

from longclip.evaluation.benchmarks import BENCHMARKS, PUBLISHED, published
from longclip.evaluation.benchmarks.published import mean_of_both, read_published

ONE = """
[sources]
paper = { words = "A et al., 2026" }
[models]
"A B/16" = { base = "B/16", towers = "clip" }
[[tables]]
benchmark = "urban1k"
source = "paper"
metrics = ["image_to_text R@1", "text_to_image R@1"]
rows = { "A B/16" = [90.0, 80.5] }
"""


def test_a_table_is_read_with_its_source_and_size() -> None:
    numbers = read_published(ONE)["urban1k"]["A B/16"]
    assert numbers.metrics == {"image_to_text R@1": 90.0, "text_to_image R@1": 80.5}
    assert (numbers.source, numbers.base, numbers.towers) == ("A et al., 2026", "B/16", "clip")
    assert numbers.reservations == ()
    assert mean_of_both(numbers.metrics) == 85.25
    assert mean_of_both({"image_to_text R@1": 90.0}) is None


def test_what_is_not_certain_is_said() -> None:
    text = ONE.replace('"A et al., 2026"', '"a list", second_hand = true')
    text = text.replace('base = "B/16"', 'base = ""').replace(
        "rows =", 'remark = "31,014 images"\nrows ='
    )
    numbers = read_published(text)["urban1k"]["A B/16"]
    assert numbers.reservations == ("31,014 images", "size not stated", "second-hand")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('source = "paper"', 'source = "papre"', "urban1k: no source is called 'papre'"),
        ('{ "A B/16" =', '{ "B L/14" =', "urban1k, B L/14: the model is not among"),
        ("80.5]", "805.0]", "text_to_image R@1 is 805.0, no percentage"),
        ("80.5]", '"80.5"]', "text_to_image R@1 is '80.5', no percentage"),
        ("90.0, 80.5", "90.0", "shorter"),
        ('base = "B/16"', 'base = "L/14"', "unknown towers or another base"),
        ('towers = "clip"', 'towers = "two"', "unknown towers or another base"),
        ("[models]", 'other = { words = "B" }\n[models]', "no table has other"),
    ],
)
def test_a_fault_in_the_file_is_named(old: str, new: str, says: str) -> None:
    assert old in ONE
    with pytest.raises(ValueError, match=says):
        read_published(ONE.replace(old, new))


def test_a_model_stands_once_in_a_benchmark() -> None:
    with pytest.raises(ValueError, match="urban1k, A B/16: stands twice"):
        read_published(ONE + ONE[ONE.index("[[tables]]") :])


def test_the_file_holds_numbers_of_our_benchmarks_alone() -> None:
    text = Path(published.__file__).with_name("published.toml").read_text(encoding="utf-8")
    assert read_published(text) == PUBLISHED
    assert set(PUBLISHED) <= set(BENCHMARKS)
    for name, rows in PUBLISHED.items():
        retrieval = BENCHMARKS[name].task != "zero-shot"
        for numbers in rows.values():
            ways = {metric.split(" R@")[0] for metric in numbers.metrics}
            allowed = {"image_to_text", "text_to_image"} if retrieval else {"top1"}
            assert ways <= allowed, name


def test_numbers_of_the_papers() -> None:
    def of(benchmark: str, model: str) -> tuple[float, ...]:
        return tuple(PUBLISHED[benchmark][model].metrics.values())

    assert of("urban1k", "HiMo-CLIP B/16") == (89.2, 89.6)
    assert of("urban1k", "DeBias-CLIP B/16") == (93.1, 93.0)
    assert of("urban1k", "β-CLIP B/16, BCE") == (92.3, 91.8)
    assert of("long-dci", "TULIP L/14") == (55.7, 56.4)
    assert of("docci", "jina-clip-v2 (in a table of B/16)") == (77.6, 78.2)
    # Two pools that papers print under one name.
    assert of("flickr30k-1k", "Long-CLIP B/16") == (87.3, 70.7)
    assert of("flickr30k-all", "Long-CLIP B/16") == (46.8, 34.1)
    assert PUBLISHED["flickr30k-all"]["DeBias-CLIP B/16"].remark == "31,014 images"
