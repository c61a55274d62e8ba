"""A decoded image, read upright, a region at a time.

Pillow keeps four bytes for a pixel of colour, and whatever turns or converts a picture as a whole
makes another one. A region of few rows is cut out of it, converted and turned by itself, so that
nothing beside the decoded picture and the region is in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from poolcli.blocks import Frame
from poolcli.files import depth
from poolcli.kernels.views import Array, along
from poolcli.maps import Header

if TYPE_CHECKING:
    from PIL import Image

_STRIP: Final = 1 << 18
"""Pixels cut out at once."""
_NARROWEST: Final = 16
"""Rows of an upright strip, at least: of a picture that lies on its side these are columns."""
_TURNS: Final = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
"""What sets a picture of each EXIF orientation upright: whether rows and columns change places,
and whether then the rows, and the columns, are reversed."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """An image, or an array, that is in memory as a whole."""

    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.array.shape

    @property
    def dtype(self) -> str:
        """The name of its dtype."""
        return self.array.dtype.name

    def read(self, frame: Frame, planes: range, low: int, high: int) -> Array:
        """Return positions ``low`` up to ``high`` of some planes, in the frame."""
        framed = self.array.reshape(frame.shape(self.array.shape))
        part = framed[planes.start : planes.stop][along(frame.place, slice(low, high))]
        return np.ascontiguousarray(part)

    def whole(self) -> Array:
        """Return all of it."""
        return self.array


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as Pillow decoded it, to be read upright and in the mode that is computed with."""

    stored: tuple[Image.Image, ...]
    """The picture, or, of 16-bit colour, those of the upper and of the lower bytes."""
    header: Header
    mode: str | None
    """The mode to convert to; None where it has it, or it is no mode of Pillow's."""
    orientation: int
    deep: bool
    """Whether it is colour of 16 bits, which Pillow has no mode for."""
    clear: int | tuple[int, ...] | None = None
    """Of 16 bits, the value that stands for clear pixels."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the upright picture: H×W or H×W×C."""
        return self.header.shape

    @property
    def dtype(self) -> str:
        """The name of the dtype that it is read in."""
        return self.header.dtype

    def read(self, frame: Frame, planes: range, low: int, high: int) -> Array:
        """Return positions ``low`` up to ``high`` of some planes, in the frame."""
        shape, lead = self.header.shape, frame.lead
        ranges = [slice(0, length) for length in shape]
        ranges[frame.cut] = slice(low, high)
        if lead == 1:
            ranges[0] = slice(planes.start, planes.stop)
        if lead <= 1:
            part = self.region(*ranges[:2])
            if len(ranges) > 2:  # noqa: PLR2004 - H, W, C
                part = part[..., ranges[2]]
            return np.ascontiguousarray(part if lead else part[np.newaxis])
        # Every pixel is a plane of its channels.
        width = shape[1]
        first = planes.start // width
        rows = slice(first, -(-planes.stop // width))
        pixels = self.region(rows, slice(0, width)).reshape(-1, shape[2])
        start = planes.start - first * width
        return np.ascontiguousarray(pixels[start : start + len(planes), low:high])

    def whole(self) -> Array:
        """Return all of it."""
        height, width = self.header.shape[:2]
        return self.region(slice(0, height), slice(0, width))

    def region(self, rows: slice, columns: slice) -> Array:
        """Return some rows and columns, H×W or H×W×C."""
        height, width = rows.stop - rows.start, columns.stop - columns.start
        region = np.empty((height, width, *self.header.shape[2:]), self.header.dtype)
        step = max(_NARROWEST, _STRIP // max(1, width))
        for start in range(0, height, step):
            strip = slice(rows.start + start, min(rows.start + start + step, rows.stop))
            region[start : start + step] = self._strip(strip, columns)
        return region

    def _strip(self, rows: slice, columns: slice) -> Array:
        height, width = self.header.shape[:2]
        turned, upside_down, mirrored = _TURNS[self.orientation]
        if upside_down:
            rows = slice(height - rows.stop, height - rows.start)
        if mirrored:
            columns = slice(width - columns.stop, width - columns.start)
        if turned:
            rows, columns = columns, rows
        box = (columns.start, rows.start, columns.stop, rows.stop)
        strip = self._numbers(box)
        if turned:
            strip = strip.swapaxes(0, 1)
        return strip[:: -1 if upside_down else 1, :: -1 if mirrored else 1]

    def _numbers(self, box: tuple[int, int, int, int]) -> Array:
        """Return a box of the stored picture (left, top, right, bottom) as numbers."""
        cut = [picture.crop(box) for picture in self.stored]
        if self.mode is not None:
            cut = [picture.convert(self.mode) for picture in cut]
        numbers = [np.asarray(picture) for picture in cut]
        array = numbers[0]
        if self.deep:
            array = depth.joined(array, numbers[1] if len(numbers) > 1 else None)
        return array if self.clear is None else depth.with_alpha(array, self.clear)
