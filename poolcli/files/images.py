"""Images through Pillow, the only module that knows it.

Every mode becomes one whose numbers can be computed with: palettes their colours, mode 1 grey,
CMYK, LAB, YCbCr and HSV become RGB. EXIF orientation is applied. What else an image carries is read
with its pixels, once, and written with those of its results.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final

import numpy as np
from PIL import Image, ImageSequence, PngImagePlugin, UnidentifiedImageError

from poolcli.errors import InputError
from poolcli.files import carried, depth, exif, png, webp
from poolcli.files.depth import Deep
from poolcli.files.formats import Encoding
from poolcli.files.metadata import Metadata
from poolcli.kernels.views import Array
from poolcli.maps import Header

# What Pillow finds odd and reads nevertheless would be told in its words, and of its lines of code.
warnings.filterwarnings("ignore", module=r"PIL\.")
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
_DEEP: Final = ("LA;16", "RGB;16", "RGBA;16")
"""Colour of 16 bits, which is no mode of Pillow's; see :mod:`poolcli.files.depth`."""
_TRANSPARENT: Final = {"L": "LA", "RGB": "RGBA", "I;16": "LA;16", "RGB;16": "RGBA;16"}
_DTYPES: Final = {"I": "int32", "F": "float32", "I;16": "uint16"} | dict.fromkeys(_DEEP, "uint16")
_CHANNELS: Final = {"LA": 2, "RGB": 3, "RGBA": 4, "LA;16": 2, "RGB;16": 3, "RGBA;16": 4}
_ANIMATED: Final = ("gif", "png", "tiff", "webp")
_JPEG: Final = b"\xff\xd8"
"""How a JPEG begins."""
_LONGEST_COMMENT: Final = 2**16 - 1 - 2
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
    """What is left to be done about it."""
    header: Header
    metadata: Metadata
    deep: Deep | None
    clear: int | tuple[int, ...] | None
    """Of 16 bits, the value that stands for clear pixels."""


def read_header(stream: BinaryIO, max_pixels: int) -> Header:
    """Read what an image is, without decoding its pixels.

    Raises
    ------
    InputError
        If it is no image, has more pixels than ``max_pixels``, or bits that Pillow would drop.
    """
    with _opened(stream, max_pixels) as image:
        return _facts(image, stream, max_pixels).header


def read(stream: BinaryIO, max_pixels: int) -> tuple[Array, Metadata]:
    """Decode an image, all its frames where it has several, and what it carries beside pixels."""
    array, facts = _decoded(stream, max_pixels, 0)
    if facts.deep is not None:
        lower = None
        if len(facts.deep.raw_modes) > 1:
            stream.seek(0)
            lower, _ = _decoded(stream, max_pixels, 1)
        array = depth.joined(array, lower)
    if facts.clear is not None:
        array = depth.with_alpha(array, facts.clear)
    return array, facts.metadata


def _decoded(stream: BinaryIO, max_pixels: int, turn: int) -> tuple[Array, _Facts]:
    """Decode all that is in a file; of 16-bit colour by one of its raw modes."""
    with _opened(stream, max_pixels) as image:
        facts = _facts(image, stream, max_pixels)
        if facts.frames == 1:
            return _pixels(image, facts, facts.deep, turn), facts
        return _frames(image, stream, facts, turn)


def _frames(image: Image.Image, stream: BinaryIO, facts: _Facts, turn: int) -> tuple[Array, _Facts]:
    """Decode all frames, and see how long each is shown."""
    frames: list[Array] = []
    durations: list[float | None] = []
    # A PNG may begin with a picture that is shown where animations are not.
    still = image.info.get("default_image", False)
    size = image.size
    for number, frame in enumerate(ImageSequence.Iterator(image), start=1):
        deep = depth.deep_colour(frame, stream)
        mode = _PLAIN.get(frame.mode) if deep is None else deep.mode
        if image.format == "TIFF" and mode != facts.mode:
            found = mode or frame.mode
            raise InputError(f"frame {number} is of mode {found}, the first {facts.mode}")
        if frame.size != size:
            # Before it is decoded: a few bytes may stand for any size.
            raise InputError(f"frame {number} has another size than the first")
        frames.append(_pixels(frame, facts, deep, turn))
        durations.append(None if still else float(frame.info.get("duration", 0)))
        still = False
    if len(frames) < facts.frames:
        raise InputError(f"truncated: it holds {len(frames)} of {facts.frames} frames")
    timed = replace(facts.metadata, durations=tuple(durations), plays=carried.plays(image))
    return np.stack(frames), replace(facts, metadata=timed)


def write(
    stream: BinaryIO,
    array: Array,
    layout: str,
    name: str,
    encoding: Encoding | None = None,
) -> None:
    """Encode an array of a dtype and layout that the format ``name`` holds.

    The stream can be read, too: some of the metadata is put in afterwards.
    """
    encoding = encoding or Encoding()
    frames = array if layout.startswith("N") else array[np.newaxis]
    if layout.endswith("C") and array.shape[-1] == 1:
        frames = frames[..., 0]
    channels = frames.shape[-1] if frames.ndim == 4 else 1  # noqa: PLR2004 - N, H, W, C
    held = encoding.metadata.held_by(name, channels)
    pictures = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    durations = held.durations if len(held.durations) == len(pictures) else ()
    if name == "webp" and len(pictures) > 1:
        _write_animation(stream, pictures, durations, held)
        return
    options = {**_ENCODERS[name], **_options(held, name)}
    if len(pictures) > 1:
        options |= {"save_all": True, "append_images": pictures[1:]}
        # A picture without a duration is shown where animations are not.
        options["default_image"] = name == "png" and None in durations
    if name == "png":
        options["compress_level"] = encoding.png_level
    if name == "jpg":
        options["quality"] = encoding.quality
    if name == "tiff" and array.dtype.kind == "f":
        options["compression"] = "raw"  # Pillow can't deflate floats
    pictures[0].save(stream, **options)
    if name == "png" and durations:
        png.set_delays(stream, [each for each in durations if each is not None])
    if name == "tiff" and (kept := carried.exif_for(held, name)).fields:
        # Pillow would change letters, and fails to compress a picture with EXIF's own directory.
        exif.append(stream, kept)


def _write_animation(
    stream: BinaryIO,
    pictures: Sequence[Image.Image],
    durations: Sequence[float | None],
    held: Metadata,
) -> None:
    """Encode frames one by one as WebP, and join them."""
    stills = []
    for picture in pictures:
        still = io.BytesIO()
        picture.save(still, **_ENCODERS["webp"])
        stills.append(still.getvalue())
    kept = carried.exif_for(held, "webp")
    joined = webp.animation(
        stills,
        pictures[0].size,
        durations or [0] * len(stills),
        alpha=pictures[0].has_transparency_data,
        plays=held.plays,
        icc=held.icc,
        exif=kept.block() if kept.fields else None,
    )
    stream.write(joined)


_ENCODERS: Final[dict[str, dict[str, Any]]] = {
    "png": {"format": "PNG"},
    "tiff": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    "webp": {"format": "WEBP", "lossless": True, "exact": True},
    "jpg": {"format": "JPEG"},
}


def _options(held: Metadata, name: str) -> dict[str, Any]:
    """Return the options by which Pillow writes metadata in a format."""
    options: dict[str, Any] = {"icc_profile": held.icc, "dpi": held.dpi}
    if name != "tiff" and (kept := carried.exif_for(held, name)).fields:
        options["exif"] = carried.EXIF_MARK + kept.block()
    if name == "png":
        options["loop"] = held.plays
        if held.software:
            options["pnginfo"] = text = PngImagePlugin.PngInfo()
            text.add_text("Software", held.software)
    if name == "jpg":
        options["comment"] = held.software.encode()[:_LONGEST_COMMENT]
    return {option: value for option, value in options.items() if value}


@contextmanager
def _opened(stream: BinaryIO, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image; whatever Pillow makes of broken bytes is one kind of error."""
    # Beside the image's own size, which is checked here, there are those that only Pillow sees, as
    # of a GIF's later frames. It refuses twice this number.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, -(-max_pixels // 2))
    try:
        with _open(stream) as image:
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


def _open(stream: BinaryIO) -> Image.Image:
    try:
        return Image.open(stream)
    except UnidentifiedImageError:
        stream.seek(0)
        before, mark, block = stream.read().partition(carried.EXIF_MARK)
        if not (mark and before.startswith(_JPEG)):
            raise
        # Where EXIF's resolution is broken, Pillow does not know the image any more.
        image = Image.open(io.BytesIO(before + mark.lower() + block))
        image.info["exif"] = block
        return image


def _facts(image: Image.Image, stream: BinaryIO, max_pixels: int) -> _Facts:
    if image.format == "EPS":
        # Pillow would have Ghostscript run it, for as long as it likes.
        raise InputError("PostScript is a program, not a picture: save what it draws as PNG first")
    width, height = image.size
    if width * height > max_pixels:
        raise InputError(f"{width}×{height} are {_too_many(max_pixels)}")
    deep = depth.deep_colour(image, stream)
    mode = _PLAIN.get(image.mode) if deep is None else deep.mode
    if mode is None:
        raise InputError(f"Pillow's mode {image.mode} is not known")
    clear = None
    if image.mode in ("1", "L", "P", "RGB", "I;16"):
        _stretch_clear(image)
        clear = image.info.get("transparency")
    if clear is not None:
        mode = _TRANSPARENT[mode]
    said = carried.read(image, stream)
    name = (image.format or "").lower()
    # A TIFF is turned by Pillow.
    orientation = 1 if name == "tiff" else said.orientation
    if orientation in carried.SIDEWAYS:
        width, height = height, width
    frames = getattr(image, "n_frames", 1) if name in _ANIMATED else 1
    shape = (*((frames,) if frames > 1 else ()), height, width)
    layout = "NHW" if frames > 1 else "HW"
    if mode in _CHANNELS:
        shape, layout = (*shape, _CHANNELS[mode]), layout + "C"
    header = Header(shape, layout, _DTYPES.get(mode, "uint8"), name)
    clear = clear if mode in _DEEP else None
    return _Facts(mode, frames, orientation, header, said.metadata, deep, clear)


def _stretch_clear(image: Image.Image) -> None:
    """Set the clear grey of few bits to what Pillow makes of such greys, which it leaves undone."""
    clear = image.info.get("transparency")
    tiles = getattr(image, "tile", ())
    if image.format != "PNG" or not isinstance(clear, int) or not tiles:
        return
    greys = {"1": 1, "L;2": 3, "L;4": 15}.get(str(tiles[0].args), 0)
    if 0 < clear <= greys:
        image.info["transparency"] = clear * 255 // greys


def _too_many(max_pixels: int) -> str:
    return f"more than {max_pixels:,} pixels: raise --max-pixels if you trust the file"


def _pixels(image: Image.Image, facts: _Facts, deep: Deep | None, turn: int) -> Array:
    """Decode one frame, and set it upright; of 16-bit colour one of its raw modes."""
    upwards, mode = _TURNS.get(facts.orientation), facts.mode
    if deep is not None:
        depth.tell(image, deep.raw_modes[turn])
    if image.format == "TIFF":
        # By what XMP says of orientation, Pillow would turn the pixels, but not their size.
        image.info.pop("xmp", None)
    upright = image if upwards is None else image.transpose(upwards)
    if mode not in (upright.mode, "I;16", *_DEEP):
        upright = upright.convert(mode)
    array = np.asarray(upright)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def silence_libtiff() -> None:
    """Keep libtiff from writing to standard error; what is wrong with a file Pillow raises.

    It has a handler for that, which is found in what Pillow has loaded.
    """
    import ctypes

    from PIL import _imaging

    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            getattr(library, name)(None)
