import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from longclip.scenes import CLASSES, draw, make_scene
from longclip.scenes.compose import _thing, stream
from longclip.scenes.vocabulary import BACKDROPS, FLYERS, FRONT, LANDMARKS, LOOKS, TREES


def pixels(scene, size=128):
    return np.asarray(draw(scene, size), dtype=np.int16)


@pytest.mark.parametrize("size", [16, 50, 128, 224])
def test_every_size_is_drawn(size):
    image = draw(make_scene("train", 0), size)
    assert image.mode == "RGB"
    assert image.size == (size, size)


def test_too_small_a_size_is_refused():
    with pytest.raises(ValueError, match="16 pixels or more"):
        draw(make_scene("train", 0), 8)


def test_another_process_draws_the_same_pixels():
    script = (
        "import hashlib; from longclip.scenes import draw, make_scene\n"
        "print(hashlib.sha256(draw(make_scene('test', 7)).tobytes()).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert there == hashlib.sha256(draw(make_scene("test", 7)).tobytes()).hexdigest()


def test_sizes_agree_on_what_is_where():
    for index in range(5):
        large = draw(make_scene("train", index), 256).reduce(2)
        small = pixels(make_scene("train", index), 128)
        assert np.abs(np.asarray(large, dtype=np.int16) - small).mean() < 6


def test_every_kind_and_class_is_drawn():
    base = make_scene("train", 0)
    variants = [replace(base, time_of_day=t) for t in CLASSES["time of day"]]
    variants += [replace(base, weather=w) for w in CLASSES["weather"]]
    variants += [replace(base, setting=s) for s in CLASSES["setting"]]
    variants += [replace(base, landmark=replace(base.landmark, kind=k)) for k in LANDMARKS]
    variants += [replace(base, trees=replace(base.trees, kind=k)) for k in TREES]
    backdrops = {backdrop for choices in BACKDROPS.values() for backdrop in choices}
    variants += [replace(base, backdrop=backdrop) for backdrop in backdrops]
    in_front = {kind for choices in FRONT.values() for kind in choices}
    for kind in LOOKS:
        thing = _thing(stream(kind), kind, "middle")
        if kind in FLYERS:
            variants.append(replace(base, flyer=thing))
        elif kind in in_front:
            variants.append(replace(base, front=(thing,)))
        else:
            variants.append(replace(base, middle=(thing,)))
    pictures = {pixels(variant).tobytes() for variant in variants}
    # The base scene itself is among the variants six times, once for every attribute it has.
    assert len(pictures) == len(variants) - 5


@pytest.mark.parametrize("group", range(0, 100, 5))
def test_differing_details_are_visible(group):
    """Any two members of a group differ by well over a hundred clearly different pixels."""
    pictures = [pixels(make_scene("test", 5 * group + i)) for i in range(5)]
    for i in range(5):
        for j in range(i):
            changed = np.abs(pictures[i] - pictures[j]).max(axis=2) > 40
            assert changed.sum() > 150


def test_a_coat_covers_enough_pixels():
    scenes = [make_scene("train", i) for i in range(200)]
    scene = next(s for s in scenes if s.front[0].kind == "boy" and s.weather == "clear")
    red = pixels(replace(scene, front=(replace(scene.front[0], coat="red"),)))
    blue = pixels(replace(scene, front=(replace(scene.front[0], coat="blue"),)))
    changed = np.argwhere(np.abs(red - blue).max(axis=2) > 30)
    height, width = changed.max(axis=0) - changed.min(axis=0) + 1
    assert height >= 8
    assert width >= 6
