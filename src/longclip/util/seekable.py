"""Base of files that are read in parts from elsewhere, as requests or around what is left out."""

import io


class SeekableReader(io.RawIOBase):
    """File of a known size that can be read anywhere; a subclass has `readinto`.

    Attributes:
        size: in bytes.
        at: the byte that is read next.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.at = 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be read anywhere."""
        return True

    def tell(self) -> int:
        """Return where it is read."""
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on elsewhere."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        self.at = max(0, base + offset)
        return self.at
