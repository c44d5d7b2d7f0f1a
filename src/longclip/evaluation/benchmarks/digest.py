"""A hash of exactly the data that were read."""

import hashlib

from longclip.data.collection import Collection
from longclip.errors import ImageError


def data_digest(collection: Collection) -> str:
    """Return the SHA-256 of the content of every image, its texts, and the labels, in order.

    Two results with the same digest were measured on the same data, wherever the files lay
    and whatever they were called. Every file is read once; nothing is decoded.
    """
    digest = hashlib.sha256()

    def add(*parts: str) -> None:
        for part in parts:
            content = part.encode("utf-8", "surrogatepass")
            # The length in front, so that no two different sequences look alike.
            digest.update(len(content).to_bytes(8, "big") + content)

    for index in range(len(collection)):
        try:
            key = collection.key(index)
        except ImageError:
            key = "unreadable"
        texts = collection.captions(index)
        add("image", key, "short", *texts.short, "long", *texts.long)
    for labels in collection.label_sets():
        add("labels", *labels.classes, "templates", *labels.templates)
        for target in labels.targets:
            digest.update(target.to_bytes(8, "big"))
    return digest.hexdigest()
