"""Picture of a scene, painted from back to front."""

from PIL import Image

from longclip.errors import UsageError
from longclip.scenes.compose import stream
from longclip.scenes.graph import Person, Scene, Thing
from longclip.scenes.pictures.animals import ANIMALS
from longclip.scenes.pictures.buildings import draw_house, draw_trees
from longclip.scenes.pictures.canvas import Canvas
from longclip.scenes.pictures.furniture import FURNITURE
from longclip.scenes.pictures.land import draw_backdrop, draw_front_ground, draw_middle_ground
from longclip.scenes.pictures.landmarks import draw_landmark
from longclip.scenes.pictures.people import draw_person
from longclip.scenes.pictures.sky import (
    COLUMNS,
    draw_falling,
    draw_flyer,
    draw_fog,
    draw_sky,
    lights,
)
from longclip.scenes.pictures.vehicles import VEHICLES


def draw(scene: Scene, size: int = 128) -> Image.Image:
    """Draw `scene`: RGB, `size` x `size` pixels.

    The same scene gives the same pixels every time.

    Raises:
        UsageError: if size is below 16.
    """
    if size < 16:
        raise UsageError(f"size {size}: scenes are drawn at 16 pixels or more")
    canvas = Canvas(size)
    rng = stream(scene.seed, "decoration")
    back, front = lights(scene)
    night = scene.time_of_day == "night"
    draw_sky(canvas, scene, rng)
    canvas.light = back
    draw_backdrop(canvas, scene, rng)
    canvas.light = front
    draw_trees(canvas, COLUMNS[scene.trees.side], scene.trees)
    draw_house(canvas, COLUMNS[scene.house.side], scene.house, night)
    draw_landmark(canvas, COLUMNS[scene.landmark.side], scene.landmark, night)
    if scene.flyer is not None:
        draw_flyer(canvas, scene.flyer, night)
    if scene.weather == "foggy":
        draw_fog(canvas, scene)
    canvas.light = back
    draw_middle_ground(canvas, scene, rng)
    canvas.light = front
    for thing in scene.middle:
        _draw_thing(canvas, thing)
    canvas.light = back
    draw_front_ground(canvas, scene, rng)
    canvas.light = front
    for something in scene.front:
        if isinstance(something, Person):
            draw_person(canvas, COLUMNS[something.side], something)
        else:
            _draw_thing(canvas, something)
    draw_falling(canvas, scene, rng)
    return canvas.finished()


def _draw_thing(canvas: Canvas, thing: Thing) -> None:
    x, way = COLUMNS[thing.side], -1 if thing.facing == "left" else 1
    if thing.kind in VEHICLES:
        VEHICLES[thing.kind](canvas, x, thing, way)
    elif thing.kind in ANIMALS:
        ANIMALS[thing.kind](canvas, x, thing, way)
    else:
        FURNITURE[thing.kind](canvas, x, thing)
