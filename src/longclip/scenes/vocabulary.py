"""Vocabulary of the scenes: kinds, colours, and where each may occur."""

COLOURS = {
    "red": (206, 62, 58),
    "orange": (240, 140, 50),
    "yellow": (246, 208, 74),
    "green": (62, 142, 84),
    "blue": (58, 108, 198),
    "purple": (132, 82, 172),
    "pink": (242, 148, 180),
    "white": (248, 246, 240),
    "black": (44, 44, 52),
    "brown": (134, 88, 56),
    "grey": (150, 152, 158),
}

CLOTHES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
WALLS = ("white", "yellow", "pink", "grey", "blue", "red")
ROOFS = ("red", "blue", "green", "black", "brown", "orange")
DOORS = ("red", "blue", "green", "black", "white", "yellow", "purple")
PAINTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
BRIGHT = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
FURS = ("brown", "black", "white")

TIMES = ("morning", "noon", "sunset", "night")
WEATHERS = ("clear", "cloudy", "rainy", "snowy", "foggy")

SETTINGS = (
    "city street",
    "town square",
    "park",
    "beach",
    "harbour",
    "lake",
    "farm",
    "mountain village",
)

LANDMARKS = {
    "church": ("walls", "roof"),
    "clock tower": ("walls", "roof"),
    "windmill": ("walls", "cap"),
    "lighthouse": ("walls", "stripes"),
    "castle": ("walls", "turrets"),
    "ferris wheel": ("frame", "cabins"),
    "factory": ("walls", "chimneys"),
    "pagoda": ("walls", "roofs"),
    "water tower": ("tank", "roof"),
    "observatory": ("walls", "dome"),
}
"""The two coloured parts of each landmark: the one that `wall` colours, and that of `roof`."""

BACKDROPS = {
    "city street": ("skyline", "hills", "cliffs"),
    "town square": ("skyline", "hills", "forest"),
    "park": ("skyline", "forest", "hills"),
    "beach": ("cliffs", "hills", "forest", "skyline"),
    "harbour": ("hills", "skyline", "cliffs", "mountains"),
    "lake": ("mountains", "hills", "forest", "cliffs"),
    "farm": ("hills", "forest", "cliffs"),
    "mountain village": ("mountains",),
}

TREES = ("pine", "oak", "poplar", "palm", "cherry", "maple")

PEOPLE = ("man", "woman", "boy", "girl")
ITEMS = ("umbrella", "balloon", "suitcase", "flag")

Look = tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...], bool]
"""The choices for a kind: colours, accent colours, counts, and whether it faces a side."""

LOOKS: dict[str, Look] = {
    "car": (PAINTS, (), (1,), True),
    "bus": (PAINTS, (), (1,), True),
    "van": (PAINTS, (), (1,), True),
    "truck": (PAINTS, BRIGHT, (1,), True),
    "tractor": (("red", "green", "blue", "yellow", "orange"), (), (1,), True),
    "tram": (PAINTS, (), (1,), True),
    "sailing boat": (PAINTS, BRIGHT, (1,), True),
    "rowing boat": (PAINTS, (), (1,), False),
    "steamboat": (PAINTS, BRIGHT, (1,), True),
    "swan": ((), (), (1, 2, 3), True),
    "duck": ((), (), (1, 2, 3), True),
    "cow": (FURS, (), (1, 2), True),
    "sheep": ((), (), (1, 2, 3), True),
    "horse": (FURS, (), (1,), True),
    "haystack": ((), (), (1, 2, 3), False),
    "fountain": ((), (), (1,), False),
    "statue": ((), (), (1,), False),
    "market stall": ((), PAINTS, (1,), False),
    "dog": (FURS, (), (1,), True),
    "bench": (PAINTS, (), (1,), False),
    "bicycle": (PAINTS, (), (1,), False),
    "tulip": (("red", "orange", "yellow", "purple", "pink", "white"), (), (2, 3, 4), False),
    "street lamp": ((), (), (1,), False),
    "postbox": (("red", "yellow", "blue", "green"), (), (1,), False),
    "barrel": (PAINTS, (), (1, 2, 3), False),
    "ball": (BRIGHT, (), (1,), False),
    "tent": (PAINTS, (), (1,), False),
    "parasol": (BRIGHT, BRIGHT, (1,), False),
    "hot-air balloon": (BRIGHT, BRIGHT, (1,), False),
    "kite": (BRIGHT, (), (1,), False),
    "airship": (BRIGHT, (), (1,), True),
    "bird": ((), (), (2, 3, 4), False),
}

FLYERS = ("hot-air balloon", "kite", "airship", "bird")

_BOATS = ("sailing boat", "rowing boat", "steamboat")
MIDDLE = {
    "city street": ("car", "bus", "van", "truck", "tram"),
    "town square": ("market stall", "fountain", "statue", "tram"),
    "park": ("swan", "duck", "rowing boat"),
    "beach": _BOATS,
    "harbour": _BOATS,
    "lake": (*_BOATS, "swan", "duck"),
    "farm": ("cow", "sheep", "horse", "haystack", "tractor"),
    "mountain village": ("car", "bus", "van", "truck", "tractor"),
}

FRONT = {
    "city street": ("dog", "bench", "bicycle", "street lamp", "postbox"),
    "town square": ("dog", "bench", "bicycle", "street lamp", "postbox", "tulip"),
    "park": ("dog", "bench", "bicycle", "tulip", "ball", "street lamp"),
    "beach": ("dog", "ball", "parasol", "tent", "bench"),
    "harbour": ("dog", "barrel", "bench", "bicycle", "street lamp"),
    "lake": ("dog", "bench", "tent", "tulip", "ball"),
    "farm": ("dog", "barrel", "tulip", "bicycle", "postbox"),
    "mountain village": ("dog", "bench", "tent", "tulip", "barrel", "postbox"),
}
