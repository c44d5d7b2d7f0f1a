import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from longclip.search.database.schema import Facts
from longclip.search.query.contact_sheet import contact_sheet, picture
from longclip.search.query.query import Found, FoundImage
from longclip.util.drawing import font_for, shortened, wrapped

GREEN = (22, 101, 52)
COLOURS = [(200, 30, 30), (30, 60, 200), (240, 200, 40), (90, 20, 120)]


def jpeg(colour, size=(60, 40)):
    written = io.BytesIO()
    Image.new("RGB", size, colour).save(written, "JPEG", quality=95)
    return written.getvalue()


def found(count, scores=(), name="photo.jpg"):
    hits = tuple(
        FoundImage(Facts(f"/p/{i}/{name}", "/p", f"/p/{i}", name, str(i), 9), 0.5, (), scores)
        for i in range(count)
    )
    sentences = tuple(f"Sentence {i}." for i in range(len(scores)))
    times = {"embedding": 0.1, "searching": 0.1, "explaining": 0.1}
    return Found(hits, sentences, 9, 77, 1, True, 40, False, (), times)


def thumbnails(answer, size=(60, 40)):
    return {hit.facts.id: jpeg(COLOURS[i % 4], size) for i, hit in enumerate(answer.hits)}


def count_of(colour, sheet, tolerance=6):
    pixels = np.asarray(sheet).astype(int)
    return int((abs(pixels - colour).max(-1) <= tolerance).sum())


@pytest.mark.parametrize("size", [(60, 40), (256, 256), (9, 250)])
def test_every_image_is_there_once_and_as_large_as_it_fits(size):
    answer = found(4)
    sheet = contact_sheet(answer, thumbnails(answer, size), text="a boat")
    width, height = size
    expected = width * height * (240 / max(size)) ** 2
    for colour in COLOURS:
        assert count_of(colour, sheet) == pytest.approx(expected, rel=0.08)


def test_images_come_in_their_order():
    answer = found(4)
    pixels = np.asarray(contact_sheet(answer, thumbnails(answer), text="a boat")).astype(int)
    centres = []
    for colour in COLOURS:
        rows, columns = np.nonzero(abs(pixels - colour).max(-1) <= 6)
        centres.append((round(rows.mean()), round(columns.mean())))
    assert centres == sorted(centres)


def test_satisfied_sentences_are_green():
    scores = (3.5, 0.5, -0.5, 3.0)
    answer = found(2, scores)
    none = count_of(GREEN, contact_sheet(found(2, (0.5,) * 4), {}), 0)
    some = count_of(GREEN, contact_sheet(answer, {}), 0)
    many = count_of(GREEN, contact_sheet(found(2, (3.5,) * 4), {}), 0)
    # In the legend there is one in any case.
    assert some - none == pytest.approx(4 * none, rel=0.2)
    assert many - none == pytest.approx(8 * none, rel=0.2)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40])
def test_any_number_of_images_makes_a_sheet(count):
    sheet = contact_sheet(found(count, (1.0,) * 25), {}, without=("rain",))
    assert sheet.mode == "RGB"
    assert 700 < sheet.width < 1700


def test_the_picture_of_the_query_is_shown():
    purple = Image.new("RGB", (90, 90), (120, 20, 140))
    sheet = contact_sheet(found(1), {}, image=purple)
    assert count_of((120, 20, 140), sheet) == 240 * 240


def test_a_very_long_description_is_cut_on_the_sheet_only():
    answer = found(1)
    sheet = contact_sheet(answer, {}, text="a boat beside a house " * 2000)
    assert sheet.height < 1600


def test_a_thumbnail_is_decoded_whole():
    assert picture(jpeg((1, 2, 3))).size == (60, 40)


NAMES = st.text(min_size=1, max_size=60) | st.sampled_from(
    ["灯台.jpg", "a\nb.jpg", "<b>.png", "é–—"]
)


@given(NAMES, st.integers(30, 200))
def test_names_of_any_script_fit_their_places(name, width):
    font = font_for([name], 14)
    short = shortened(name, font, width)
    assert font.getlength(short) <= width
    assert "\n" not in short
    for line in wrapped(name, font, width):
        assert font.getlength(line) <= width


def test_the_ends_of_a_long_name_stay():
    short = shortened("holiday-in-the-mountains-of-the-north-0017.jpg", font_for("", 14), 120)
    assert short.startswith("hol")
    assert short.endswith("17.jpg")
    assert "…" in short
