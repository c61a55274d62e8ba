"""What a map is, before and beside its elements: named axes, a dtype, the file it came from."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an input before its elements are read.

    ``format`` is the file's own: ``npy``, or Pillow's name of an image format in small letters.
    """

    shape: tuple[int, ...]
    layout: str
    dtype: str
    format: str
    picture: int = field(default=0, compare=False)
    """Bytes that an image takes while it is decoded and read from."""
    decoding: int = field(default=0, compare=False)
    """Bytes that it takes beside these to decode it, or to bring an array into C order."""

    @property
    def is_image(self) -> bool:
        """Whether results are pictures too, in the range of this one."""
        return self.format != "npy"
