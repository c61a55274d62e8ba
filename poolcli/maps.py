"""What a map is, before and beside its elements: named axes, a dtype, the file it came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an input before its elements are read.

    ``format`` is the file's own: ``npy``, or Pillow's name of an image format in small letters.
    """

    shape: tuple[int, ...]
    layout: str
    dtype: str
    format: str

    @property
    def is_image(self) -> bool:
        """Whether results are pictures too, in the range of this one."""
        return self.format != "npy"
