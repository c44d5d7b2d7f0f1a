"""The embedded scenes as a Collection."""

from collections.abc import Sequence

from PIL import Image

from longclip import __version__, scenes
from longclip.data.captions import Captions
from longclip.data.collection import Collection, LabelSet
from longclip.util.digest import Digest

_GROUPS = ("val", "test")
_LONGEST = "-longest"


class ScenesCollection(Collection):
    """Scenes of one split, drawn when asked for.

    Args:
        split: train (any scenes), train-groups, val and test (groups that share a summary and
            differ in what is described late), val-short or test-short (groups whose summaries
            differ in colours alone).
            train-groups-longest, val-longest and test-longest are those splits with texts of about
            640 tokens.
        size: how many; the split's default where None.
        image_size: pixels, square.
    """

    def __init__(self, split: str, size: int | None = None, image_size: int = 128) -> None:
        self.name = f"scenes/{split}"
        self.split = split.removesuffix(_LONGEST)
        is_longest = split.endswith(_LONGEST)
        self._describe = scenes.longest_description if is_longest else scenes.describe
        self.image_size = image_size
        self._size = scenes.split_size(self.split) if size is None else size

    def __len__(self) -> int:
        return self._size

    def image(self, index: int) -> Image.Image:
        """Draw one scene."""
        return scenes.draw(scenes.make_scene(self.split, index), self.image_size)

    def key(self, index: int) -> str:
        """Return what determines a picture: split, index, size, and the version that draws it."""
        return f"scenes {__version__} {self.split} {index} {self.image_size}"

    def picture_hashes(self) -> Sequence[int]:
        """Return a hash of what determines each picture."""
        return [hash((self.split, index, self.image_size)) for index in range(len(self))]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the split, its size, and the version that draws it."""
        digest = Digest()
        digest.add("scenes", __version__, self.name, str(len(self)), str(self.image_size))
        return digest.hexdigest()

    def captions(self, index: int) -> Captions:
        """Return the short captions, the summary first, and the description.

        What is measured must have one right answer: the groups of `val` and `test` share their
        summaries, so they have no short captions, and `val-short` and `test-short` have only
        their summaries, all distinct.
        """
        scene = scenes.make_scene(self.split, index)
        short = () if self.split in _GROUPS else scenes.short_captions(scene)
        if self.split.endswith("-short"):
            short = short[:1]
        return Captions(short, (self._describe(scene),))

    def contradictions(self, index: int) -> tuple[str, ...]:
        """Return the text of the scene with one colour changed, the last that `describe` names."""
        return (self._describe(scenes.contradict(scenes.make_scene(self.split, index))),)

    def label_sets(self) -> Sequence[LabelSet]:
        """Return time of day, landmark and the like, from the scene graphs; none for groups."""
        if self.split in _GROUPS:
            return ()
        found = [scenes.labels(scenes.make_scene(self.split, i)) for i in range(len(self))]
        return [
            LabelSet(
                task,
                classes,
                tuple(classes.index(labels[task]) for labels in found),
                scenes.PROMPTS[task],
            )
            for task, classes in scenes.CLASSES.items()
        ]
