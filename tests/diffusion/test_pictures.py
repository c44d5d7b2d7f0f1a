"""Text chunks of pictures, and two pictures side by side."""

from pathlib import Path

import pytest
from PIL import Image

from longclip.diffusion.comparison import Side, side_by_side
from longclip.diffusion.pictures import parameters, read_facts, write_png
from longclip.errors import ImageError

FACTS = {
    "prompt": "ein rotes Boot – 漢字",
    "negative": "fog",
    "steps": 30,
    "scheduler": "DDIM",
    "guidance": 7.5,
    "seed": 3,
    "width": 512,
    "height": 768,
    "model": "owner/model",
    "clip_skip": 1,
    "versions": {"longclip": "0.1.0"},
}
# By who reads what, as comparison.py paints it.
RIGHT, NONE = (255, 232, 208), (238, 238, 236)


def test_text_chunks(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.png"
    write_png(path, Image.new("RGB", (8, 8)), FACTS)
    assert read_facts(path) == FACTS
    with Image.open(path) as image:
        assert image.text["parameters"] == (
            "ein rotes Boot – 漢字\n"
            "Negative prompt: fog\n"
            "Steps: 30, Sampler: DDIM, CFG scale: 7.5, Seed: 3, Size: 512x768, Model: model, "
            "Clip skip: 2, Version: longclip 0.1.0"
        )
    assert "Clip skip" not in parameters(FACTS | {"clip_skip": None})
    assert "Negative prompt" not in parameters(FACTS | {"negative": ""})
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"b.png was not made by"):
        read_facts(tmp_path / "b.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "c.jpg")
    with pytest.raises(ImageError, match=r"c.jpg cannot be read: it is no PNG file"):
        read_facts(tmp_path / "c.jpg")
    with pytest.raises(ImageError, match=r"d.png cannot be read: No such file"):
        read_facts(tmp_path / "d.png")


def compared(text: str, left: int, right: int, footer: str = "seed 0") -> Image.Image:
    sides = [
        Side(name, Image.new("RGB", (512, 512), colour), len(text), read, (read,))
        for name, colour, read in (("left", (255, 0, 0), left), ("right", (0, 0, 255), right))
    ]
    return side_by_side(*sides, [text], footer)


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    return {colour for _, colour in image.getcolors(maxcolors=1 << 24)}  # type: ignore[union-attr]


def test_two_pictures_whole_and_in_their_places() -> None:
    image = compared("a red boat", 10, 10)
    counts = {colour: count for count, colour in image.getcolors(1 << 24) or ()}
    assert counts[255, 0, 0] == counts[0, 0, 255] == 512 * 512
    assert image.getpixel((image.width // 4, 300)) == (255, 0, 0)
    assert image.getpixel((3 * image.width // 4, 300)) == (0, 0, 255)
    assert not colours(image) & {RIGHT, NONE}


def test_what_is_cut_is_marked() -> None:
    text = "a red boat and two dogs"
    assert colours(compared(text, 10, len(text))) & {RIGHT, NONE} == {RIGHT}
    assert colours(compared(text, 10, 14)) & {RIGHT, NONE} == {RIGHT, NONE}
    assert colours(compared(text, 10, 10)) & {RIGHT, NONE} == {NONE}


def test_longer_prompts_make_it_higher_only() -> None:
    short, long = compared("a boat. ", 2, 8), compared("a boat. " * 200, 2, 1600)
    assert long.width == short.width
    assert long.height > short.height + 200


@pytest.mark.parametrize(
    "text", ["", "   ", "x" * 900, "ein Größe – “quoted” 漢字 😀", "a\nb\n\nc"]
)
def test_any_text(text: str) -> None:
    assert compared(text, len(text) // 2, len(text), footer=text).height > 512


def test_small_pictures_have_room_for_words() -> None:
    side = Side("left", Image.new("L", (16, 16)), 1, 1, (1,))
    assert side_by_side(side, side, ["a"], "").width > 800
