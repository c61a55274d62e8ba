"""Images through Pillow, the only module that knows it.

Every mode becomes one whose numbers can be computed with: palettes their colours, mode 1 grey,
CMYK, LAB, YCbCr and HSV become RGB. EXIF orientation is applied.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from poolcli.errors import InputError
from poolcli.files.formats import Encoding
from poolcli.kernels.views import Array
from poolcli.maps import Header

# What Pillow logs of a broken file is no second line beside the error, unless somebody listens.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_PLAIN: Final = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "LAB": "RGB",
    "HSV": "RGB",
    "I": "I",
    "F": "F",
    "I;16": "I;16",
    "I;16L": "I;16",
    "I;16B": "I;16",
    "I;16N": "I;16",
}
"""The mode that each of Pillow's modes is computed in."""
_TRANSPARENT: Final = {"L": "LA", "RGB": "RGBA"}
_DTYPES: Final = {"I": "int32", "F": "float32", "I;16": "uint16"}
_CHANNELS: Final = {"LA": 2, "RGB": 3, "RGBA": 4}
_ANIMATED: Final = ("gif", "png", "tiff", "webp")
_ORIENTATION: Final = 0x0112
_SIDEWAYS: Final = (5, 6, 7, 8)
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets a picture of each EXIF orientation upright."""


@dataclass(frozen=True, slots=True)
class _Facts:
    mode: str
    frames: int
    orientation: int
    header: Header


def read_header(stream: BinaryIO, max_pixels: int) -> Header:
    """Read what an image is, without decoding its pixels.

    Raises
    ------
    InputError
        If it is no image, has more pixels than ``max_pixels``, or bits that Pillow would drop.
    """
    with _opened(stream, max_pixels) as image:
        return _facts(image, max_pixels).header


def read_pixels(stream: BinaryIO, max_pixels: int) -> Array:
    """Decode an image, all its frames where it has several."""
    with _opened(stream, max_pixels) as image:
        facts = _facts(image, max_pixels)
        if facts.frames == 1:
            return _pixels(image, facts)
        frames: list[Array] = []
        size = image.size
        for number, frame in enumerate(ImageSequence.Iterator(image), start=1):
            _refuse_dropped_bits(frame)
            if image.format == "TIFF" and _PLAIN.get(frame.mode) != facts.mode:
                raise InputError(f"frame {number} is of mode {frame.mode}, the first {facts.mode}")
            if frame.size != size:
                # Before it is decoded: a few bytes may stand for any size.
                raise InputError(f"frame {number} has another size than the first")
            frames.append(_pixels(frame, facts))
        if len(frames) < facts.frames:
            raise InputError(
                f"truncated: it promises {facts.frames} frames, it holds {len(frames)}"
            )
        return np.stack(frames)


def write(
    stream: BinaryIO, array: Array, layout: str, name: str, encoding: Encoding | None = None
) -> None:
    """Encode an array of a dtype and layout that the format ``name`` holds."""
    encoding = encoding or Encoding()
    frames = array if layout.startswith("N") else array[np.newaxis]
    if layout.endswith("C") and array.shape[-1] == 1:
        frames = frames[..., 0]
    first, *rest = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    options = {**_ENCODERS[name], **({"save_all": True, "append_images": rest} if rest else {})}
    if name == "png":
        options["compress_level"] = encoding.png_level
    if name == "jpg":
        options["quality"] = encoding.quality
    if name == "tiff" and array.dtype.kind == "f":
        options["compression"] = "raw"  # Pillow can't deflate floats
    first.save(stream, **options)


_ENCODERS: Final[dict[str, dict[str, Any]]] = {
    "png": {"format": "PNG"},
    "tiff": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    "webp": {"format": "WEBP", "lossless": True, "exact": True},
    "jpg": {
        "format": "JPEG",
    },
}


@contextmanager
def _opened(stream: BinaryIO, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image; whatever Pillow makes of broken bytes is one kind of error."""
    # Beside the image's own size, which is checked here, there are those that only Pillow sees, as
    # of a GIF's later frames. It refuses twice this number.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, -(-max_pixels // 2))
    try:
        with Image.open(stream) as image:
            yield image
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError("neither an image that Pillow can read nor an .npy array") from None
    except Image.DecompressionBombError:
        raise InputError(_too_many(max_pixels)) from None
    except MemoryError:
        raise InputError("too large for this machine's memory") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"a broken image: {reason}") from error


def _facts(image: Image.Image, max_pixels: int) -> _Facts:
    if image.format == "EPS":
        # Pillow would have Ghostscript run it, for as long as it likes.
        raise InputError("PostScript is a program, not a picture: save what it draws as PNG first")
    width, height = image.size
    if width * height > max_pixels:
        raise InputError(f"{width}×{height} are {_too_many(max_pixels)}")
    _refuse_dropped_bits(image)
    mode = _PLAIN.get(image.mode)
    if mode is None:
        raise InputError(f"Pillow's mode {image.mode} is not known")
    if "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        mode = _TRANSPARENT[mode]
    name = (image.format or "").lower()
    orientation = _orientation(image)
    if orientation in _SIDEWAYS:
        width, height = height, width
    frames = getattr(image, "n_frames", 1) if name in _ANIMATED else 1
    shape = (*((frames,) if frames > 1 else ()), height, width)
    layout = "NHW" if frames > 1 else "HW"
    if mode in _CHANNELS:
        shape, layout = (*shape, _CHANNELS[mode]), layout + "C"
    return _Facts(
        mode, frames, orientation, Header(shape, layout, _DTYPES.get(mode, "uint8"), name)
    )


def _too_many(max_pixels: int) -> str:
    return f"more than {max_pixels:,} pixels: raise --max-pixels if you trust the file"


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, as far as it is known before the pixels are decoded."""
    if image.format == "TIFF":
        # Pillow has turned it already.
        return 1
    if image.format == "PNG" and "exif" not in image.info:
        # Looking for one behind the pixels would decode them; one in XMP stands before them.
        packet = str(image.info.get("XML:com.adobe.xmp", ""))
        found = re.search(r"tiff:Orientation(?:=\"|>)([1-8])", packet)
        return int(found[1]) if found else 1
    return int(image.getexif().get(_ORIENTATION, 1))


def _refuse_dropped_bits(image: Image.Image) -> None:
    """Refuse 16-bit colour, which Pillow would read as 8-bit without a word."""
    tiles = getattr(image, "tile", ())
    coded = [f"{tile.codec_name} {tile.args}" for tile in tiles]
    wide = any(";16" in code or "SGI16" in code or "65535" in code for code in coded)
    if wide and not image.mode.startswith("I"):
        raise InputError(
            "16 bits a channel in colour, of which Pillow reads 8: save it as an .npy array first"
        )


def _pixels(image: Image.Image, facts: _Facts) -> Array:
    turn, mode = _TURNS.get(facts.orientation), facts.mode
    upright = image if turn is None else image.transpose(turn)
    if upright.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(upright, lab, srgb, outputMode="RGB")
        assert converted is not None, "not in place"  # noqa: S101 - narrows Pillow's annotation
        upright = converted
    elif mode not in (upright.mode, "I;16"):
        upright = upright.convert(mode)
    array = np.asarray(upright)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
