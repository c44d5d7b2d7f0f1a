"""Ready-made sentences and verbs of the long descriptions."""

_STANDS = (("stands", "stand"), ("is placed", "are placed"))
_DRIVES = (("drives", "drive"), ("rolls", "roll"))
_SWIMS = (("swims", "swim"), ("floats", "float"))
_GRAZES = (("grazes", "graze"), ("stands", "stand"))

# For each kind: (with one, with several).
VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    "car": _DRIVES,
    "bus": _DRIVES,
    "van": _DRIVES,
    "truck": _DRIVES,
    "tram": (("passes", "pass"), ("runs", "run")),
    "tractor": (("works", "work"), ("rolls", "roll")),
    "sailing boat": (("glides", "glide"), ("floats", "float")),
    "rowing boat": (("floats", "float"), ("lies", "lie")),
    "steamboat": (("steams", "steam"), ("passes", "pass")),
    "swan": _SWIMS,
    "duck": _SWIMS,
    "cow": _GRAZES,
    "sheep": _GRAZES,
    "horse": _GRAZES,
    "haystack": (("lies", "lie"), ("rests", "rest")),
    "fountain": (("splashes", "splash"), ("stands", "stand")),
    "statue": _STANDS,
    "market stall": _STANDS,
    "dog": (("stands", "stand"), ("waits", "wait")),
    "bench": _STANDS,
    "bicycle": (("is parked", "are parked"), ("stands", "stand")),
    "tulip": (("grows", "grow"), ("blooms", "bloom")),
    "street lamp": (("glows", "glow"), ("stands", "stand")),
    "postbox": _STANDS,
    "barrel": _STANDS,
    "ball": (("lies", "lie"), ("rests", "rest")),
    "tent": (("is pitched", "are pitched"), ("stands", "stand")),
    "parasol": (("is open", "are open"), ("stands", "stand")),
}

GROUNDS: dict[str, tuple[str, ...]] = {
    "city street": (
        "a dark road with white marks crosses the picture in front of a grey pavement",
        "white dashes divide the asphalt road behind the pavement",
    ),
    "town square": (
        "the ground is covered with pale paving stones",
        "large sandy stone slabs pave the ground",
    ),
    "park": (
        "a pond lies behind the lawn in front",
        "a strip of lawn borders the quiet pond",
    ),
    "beach": (
        "a strip of sand lies in front of the sea",
        "the sea meets the sand in a line of white foam",
    ),
    "harbour": (
        "the quay in front is made of wooden planks",
        "wooden planks form the quay before the dark water",
    ),
    "lake": (
        "reeds grow along the near shore of the lake",
        "a shore with reeds borders the blue water",
    ),
    "farm": (
        "a wooden fence runs in front of the field",
        "behind a wooden fence lies a field with furrows",
    ),
    "mountain village": (
        "an unpaved road crosses the picture behind a meadow",
        "a meadow with a few stones lies before the dirt road",
    ),
}

_CLOUDS = (
    "large clouds cover the upper part of the sky",
    "clouds drift across the sky",
    "a row of clouds hangs in the sky",
)
_RAIN = (
    "rain falls from dark clouds",
    "dark clouds hang low and rain streaks the air",
    "it is raining from heavy clouds",
)
_SNOW = (
    "snow is falling and the ground is white",
    "snowflakes fall from the clouds onto white ground",
    "the ground is covered with snow and more is falling",
)
_FOG = (
    "thick fog hides much of the distance",
    "pale fog lies over everything far away",
    "the distance fades into fog",
)
_CLEAR = {
    "morning": ("the low sun shines in a pale sky", "the sun has just come up into a pale sky"),
    "noon": ("the sun stands high in a bright blue sky", "a high sun shines in the blue sky"),
    "sunset": (
        "the large sun sinks through an orange and purple sky",
        "the setting sun colours the sky orange and purple",
    ),
}

# Keyed by (weather, time of day). A clear night has a moon, which the scene chooses.
SKIES: dict[tuple[str, str], tuple[str, ...]] = {
    ("clear", time): sentences for time, sentences in _CLEAR.items()
} | {
    (weather, time): sentences
    for weather, sentences in (
        ("cloudy", _CLOUDS),
        ("rainy", _RAIN),
        ("snowy", _SNOW),
        ("foggy", _FOG),
    )
    for time in ("morning", "noon", "sunset", "night")
}
