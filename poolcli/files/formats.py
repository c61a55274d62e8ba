"""Result formats: their suffixes, and what each can hold. No NumPy, no Pillow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil, prod, sqrt
from typing import TYPE_CHECKING, Final

from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import OutputError
from poolcli.files.metadata import Metadata
from poolcli.maps import Header

if TYPE_CHECKING:
    from poolcli.plan import Plan, Step

SUFFIXES: Final = {"png": ".png", "npy": ".npy", "tiff": ".tiff", "webp": ".webp", "jpg": ".jpg"}

ARRAY_MAGIC: Final = b"\x93NUMPY"
"""How an .npy file begins."""

_OWN_NAMES: Final = {"jpeg": "jpg", "mpo": "jpg"}
_MOST_CHANNELS: Final = 4
_LONGEST_SIDES: Final = {"png": 2**31 - 1, "tiff": 2**31 - 1, "webp": 16383, "jpg": 65500}
_GREY_DTYPES: Final = {
    "png": ("uint8", "uint16"),
    "tiff": ("uint8", "uint16", "int32", "float32"),
    "webp": ("uint8",),
    "jpg": ("uint8",),
}

_IMAGES: Final = (
    "apng avif avifs blp bmp bw cur dcx dds dib fit fits flc fli ftc ftu gbr gif icb icns ico im "
    "j2c j2k jfif jp2 jpc jpe jpeg jpf jpg jpx mpo msp pbm pcd pcx pfm pgm png pnm ppm psd pxr qoi "
    "ras rgb rgba sgi tga tif tiff vda vst webp xbm xpm"
)
"""What Pillow reads by itself, and is a picture: no film, no page to be drawn, no table of data."""
KNOWN_SUFFIXES: Final = frozenset(f".{name}" for name in (*_IMAGES.split(), "npy", "npz"))
"""What is taken for an input when a folder is read."""


PNG_LEVEL: Final = 4
"""Of photographs, files are 1 % larger than at Pillow's 6, in half the time; at 1, 20 % larger."""
QUALITY: Final = 90


@dataclass(frozen=True, slots=True)
class Encoding:
    """How hard encoders try: PNG's level of compression from 0 to 9, a lossy format's quality.

    ``metadata`` is what the result carries beside its pixels.
    """

    png_level: int = PNG_LEVEL
    quality: int = QUALITY
    metadata: Metadata = field(default_factory=Metadata)


def of_suffix(suffix: str) -> str | None:
    """Return the format that a result's suffix stands for.

    >>> of_suffix(".TIF"), of_suffix(".gif")
    ('tiff', None)
    """
    shorthands = {".tif": ".tiff", ".jpeg": ".jpg"}
    plain = shorthands.get(suffix.lower(), suffix.lower())
    return next((name for name, known in SUFFIXES.items() if known == plain), None)


def is_picture(shape: tuple[int, ...], layout: str) -> bool:
    """Whether the axes are those of an image: HW, or HWC of 1 to 4 channels; N in front or not."""
    plain = layout.removeprefix("N")
    return plain == "HW" or (plain == "HWC" and 1 <= shape[-1] <= _MOST_CHANNELS)


def holds(name: str, shape: tuple[int, ...], layout: str, dtype: str) -> bool:
    """Whether a format holds such a result as it is.

    >>> holds("png", (4, 4, 3), "HWC", "uint8"), holds("jpg", (4, 4, 4), "HWC", "uint8")
    (True, False)
    """
    if name == "npy":
        return True
    if 0 in shape or not is_picture(shape, layout):
        return False
    if max(shape[layout.index("H")], shape[layout.index("W")]) > _LONGEST_SIDES[name]:
        return False
    channels = shape[-1] if layout.endswith("C") else 1
    if layout.startswith("N") and (name == "jpg" or (name, dtype) == ("png", "uint16")):
        # JPEG has no frames, and Pillow garbles those of 16-bit PNG.
        return False
    if name == "jpg" and channels in (2, 4):
        return False
    return dtype in (_GREY_DTYPES[name] if channels == 1 else ("uint8",))


def saved_plan(plan: Plan, header: Header, requested: str | None, dtype: str | None) -> Plan:
    """Return a plan with the dtypes that its results are saved in.

    That is ``dtype`` where one is asked for; the image's own for results of an image that are saved
    as one; else each operation's.
    """

    def saved(step: Step) -> str:
        pictured = header.is_image and requested != "npy" and is_picture(step.shape, step.layout)
        return dtype or (header.dtype if pictured else step.dtype)

    return replace(plan, steps=tuple(replace(step, dtype=saved(step)) for step in plan.steps))


def can_draw(name: str, shape: tuple[int, ...], layout: str) -> bool:
    """Whether a format can show an array as a picture; see :mod:`poolcli.files.pictures`."""
    if 0 in shape or (name == "jpg" and layout == "HWC" and shape[-1] in (2, 4)):
        return False
    height, width = drawn_size(shape, layout)
    return max(height, width) <= _LONGEST_SIDES[name]


def drawn_size(shape: tuple[int, ...], layout: str) -> tuple[int, int]:
    """Return the height and width of an array as a picture, a mosaic where it is none."""
    lengths = dict(zip(layout, shape, strict=True))
    height, width = lengths.get("H", 1), lengths.get("W", 1)
    if layout in ("HW", "HWC") and is_picture(shape, layout):
        return height, width
    rows, columns = mosaic_grid(prod(shape) // (height * width), height, width)
    return rows * (height + MOSAIC_GAP) - MOSAIC_GAP, columns * (width + MOSAIC_GAP) - MOSAIC_GAP


def mosaic_grid(count: int, height: int, width: int) -> tuple[int, int]:
    """Return in how many rows and columns tiles come nearest to a square."""
    columns = min(count, max(1, ceil(sqrt(count * height / width))))
    return ceil(count / columns), columns


MOSAIC_GAP: Final = 1
"""Pixels between the tiles of a mosaic."""


_WEBP: Final = 42
"""Bytes of a pixel that libwebp takes to encode a picture without losses, measured with noise."""
_APNG: Final = 12
"""Bytes of a pixel of each frame that Pillow keeps to find out what differs from the one before."""
_WRITTEN: Final = 1.25
"""What a stream in memory takes for each byte of it while it grows."""


def encoding_bytes(
    name: str, shape: tuple[int, ...], layout: str, dtype: str, *, in_memory: bool = False
) -> int:
    """Return how many bytes it takes, at most, to encode a result, beside the result itself.

    ``in_memory``, if what is encoded is held before it is written.

    >>> encoding_bytes("png", (10, 10, 3), "HWC", "uint8")
    400
    """
    if name == "npy":
        return 0
    drawn = 0
    if not holds(name, shape, layout, dtype):
        shape, layout, drawn = _as_drawn(shape, layout)
        dtype = "uint8"
    channels = shape[-1] if layout.endswith("C") else 1
    pixels = prod(shape) // max(1, channels)
    frames = shape[0] if layout.startswith("N") else 1
    # What Pillow shares with NumPy, it does not copy.
    shared = channels == _MOST_CHANNELS or (channels == 1 and dtype in ("uint8", "uint16"))
    copied = 0 if shared else 4
    needed = drawn + copied * pixels
    if name == "webp":
        needed += _WEBP * pixels // max(1, frames)
        # Encoded frames are joined, in chunks of chunks.
        needed += 4 * prod(shape) if frames > 1 else 0
    if name == "png" and frames > 1:
        needed += _APNG * pixels
    return needed + int(prod(shape) * ITEM_SIZES[dtype] * _WRITTEN) * in_memory


def _as_drawn(shape: tuple[int, ...], layout: str) -> tuple[tuple[int, ...], str, int]:
    """Return the shape and layout of an array drawn as a picture, and the bytes that this takes."""
    elements = prod(shape)
    if layout in ("HW", "HWC") and is_picture(shape, layout):
        return shape, layout, elements
    size = drawn_size(shape, layout)
    # In shades, in planes, and laid out.
    return size, "HW", 2 * elements + prod(size)


def choose(requested: str | None, header: Header, shape: tuple[int, ...], dtype: str) -> str:
    """Return the format of a result: the one asked for, or the default for its input.

    Raises
    ------
    OutputError
        If the format asked for can't hold the result.

    Examples
    --------
    >>> photo = Header((4, 4, 3), "HWC", "uint8", "jpeg")
    >>> [choose(name, photo, (2, 2, 3), "uint8") for name in (None, "same", "npy")]
    ['png', 'jpg', 'npy']
    """
    if requested is None:
        names = ("png", "tiff", "npy") if header.is_image else ("npy",)
        return next(name for name in names if holds(name, shape, header.layout, dtype))
    name = _OWN_NAMES.get(header.format, header.format) if requested == "same" else requested
    if name not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise OutputError(f"results can't be written as {name}: say --format with one of {known}")
    fits = holds(name, shape, header.layout, dtype)
    if not fits and (header.is_image or not can_draw(name, shape, header.layout)):
        size = "x".join(map(str, shape))
        others = [other for other in SUFFIXES if holds(other, shape, header.layout, dtype)]
        mend = f"say --format {' or '.join(others)}"
        raise OutputError(f"{name} can't hold {dtype} {header.layout} {size}: {mend}")
    return name
