"""Images through Pillow, the only module that knows it.

Every mode becomes one whose numbers can be computed with: palettes their colours, mode 1 grey,
CMYK, LAB, YCbCr and HSV become RGB. EXIF orientation is applied. What else an image carries is read
with its pixels, once, and written with those of its results.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from typing import Any, BinaryIO, Final, overload

import numpy as np
from PIL import Image, PngImagePlugin

from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import InputError
from poolcli.files import carried, decoding, depth, directories, exif, gif, png, webp
from poolcli.files.depth import Deep
from poolcli.files.formats import Encoding
from poolcli.files.machine import give_back_freed_memory
from poolcli.files.metadata import Metadata
from poolcli.files.opening import each_frame, opened, opened_page, too_many
from poolcli.files.streams import place_kept
from poolcli.files.upright import InMemory, Picture
from poolcli.kernels.views import Array
from poolcli.maps import Header

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
_JOINED: Final = 16
"""Bytes of a pixel that joining a frame of 16 bits takes beyond one of 8."""
_LARGE: Final = 32 << 20
"""Bytes of a picture; of a smaller one, what its decoder leaves behind is soon used again."""
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


def read_header(stream: BinaryIO, max_pixels: int, memory: int | None = None) -> Header:
    """Read what an image is, without decoding its pixels.

    Raises
    ------
    InputError
        If it is no image, has more pixels than ``max_pixels``, bits that Pillow would drop, or is
        of a format that is held whole and takes more than ``memory`` bytes.
    """
    with opened(stream, max_pixels, memory, decoding=False) as image:
        return _with_memory(_facts(image, stream, max_pixels), image, stream)


def _with_memory(facts: _Facts, image: Image.Image, stream: BinaryIO) -> Header:
    """Return the header of an image with how much memory it takes to decode it."""
    header, own = facts.header, decoding.decoder_bytes(image, stream, facts.frames)
    if facts.frames > 1:
        # Frames are gathered in one array.
        array = prod(header.shape) * ITEM_SIZES[header.dtype]
        if facts.deep is not None or facts.clear is not None:
            # One frame's upper and lower bytes, and what they are joined to.
            own += _JOINED * prod(image.size)
        return replace(header, picture=array, decoding=own)
    decoded = 1 if facts.deep is None else len(facts.deep.raw_modes)
    return replace(header, picture=decoded * decoding.picture_bytes(image), decoding=own)


def read(stream: BinaryIO, max_pixels: int) -> tuple[Array, Metadata]:
    """Decode an image, all its frames where it has several, and what it carries beside pixels."""
    decoded, metadata = decode(stream, max_pixels)
    return decoded.whole(), metadata


def decode(stream: BinaryIO, max_pixels: int) -> tuple[Picture | InMemory, Metadata]:
    """Decode an image, to be read in regions, and read what it carries beside pixels.

    The frames of an animation are held as one array.
    """
    first, facts = _decoded(stream, max_pixels, 0)
    if not isinstance(first, Image.Image):
        return InMemory(first), facts.metadata
    pictures = [first]
    if facts.deep is not None and len(facts.deep.raw_modes) > 1:
        stream.seek(0)
        lower, _ = _decoded(stream, max_pixels, 1)
        if isinstance(lower, Image.Image):
            pictures.append(lower)
    deep = facts.deep is not None
    mode = None if facts.mode in (first.mode, "I;16", *_DEEP) else facts.mode
    picture = Picture(tuple(pictures), facts.header, mode, facts.orientation, deep, facts.clear)
    return picture, facts.metadata


def _decoded(
    stream: BinaryIO, max_pixels: int, turn: int
) -> tuple[Image.Image, _Facts] | tuple[Array, _Facts]:
    """Decode all that is in a file; of 16-bit colour by one of its raw modes."""
    with opened(stream, max_pixels) as image:
        facts = _facts(image, stream, max_pixels)
        if facts.frames > 1:
            return _frames(image, stream, facts)
        _prepare(image, facts.deep, turn)
        image.load()
        # A picture without its decoder, which may hold as much again.
        picture = image._new(image.im)  # noqa: SLF001 - Pillow has no public way but a copy
    del image
    if decoding.picture_bytes(picture) >= _LARGE:
        give_back_freed_memory()
    return picture, facts


def _frames(image: Image.Image, stream: BinaryIO, facts: _Facts) -> tuple[Array, _Facts]:
    """Decode all frames into one array, and see how long each is shown."""
    array: Array | None = None
    durations: list[float | None] = []
    # A PNG may begin with a picture that is shown where animations are not.
    still = image.info.get("default_image", False)
    size = image.size
    # Only a TIFF has several frames of 16-bit colour.
    places = directories.pages(stream) if facts.deep is not None else ()
    for number, frame in enumerate(_each(image, stream), start=1):
        deep = depth.deep_colour(frame, stream)
        mode = _PLAIN.get(frame.mode) if deep is None else deep.mode
        if image.format == "TIFF" and mode != facts.mode:
            found = mode or frame.mode
            raise InputError(f"frame {number} is of mode {found}, the first {facts.mode}")
        if frame.size != size:
            # Before it is decoded: a few bytes may stand for any size.
            raise InputError(f"frame {number} has another size than the first")
        pixels = _pixels(frame, facts, deep, 0)
        if deep is not None:
            # Joined page by page, no array of all upper or all lower bytes is held.
            lower = None
            if len(deep.raw_modes) > 1:
                with opened_page(stream, places[number - 1], size) as page:
                    lower = _pixels(page, facts, depth.deep_colour(page, stream), 1)
            pixels = depth.joined(pixels, lower)
        if facts.clear is not None:
            pixels = depth.with_alpha(pixels, facts.clear)
        if array is None:
            array = np.empty((facts.frames, *pixels.shape), pixels.dtype)
        array[number - 1] = pixels
        durations.append(None if still else float(frame.info.get("duration", 0)))
        still = False
        if number == facts.frames:
            break
    if array is None or len(durations) < facts.frames:
        raise InputError(f"truncated: it holds {len(durations)} of {facts.frames} frames")
    timed = replace(facts.metadata, durations=tuple(durations), plays=carried.plays(image))
    return array, replace(facts, metadata=timed)


def _each(image: Image.Image, stream: BinaryIO) -> Iterator[Image.Image]:
    """Yield an image's frames in order, in time that grows as their number does."""
    if image.format == "TIFF":
        # On its way to a page Pillow looks through all those before it.
        size = image.size
        yield image
        for place in directories.pages(stream)[1:]:
            with opened_page(stream, place, size) as page:
                yield page
        return
    yield from each_frame(image)


def _count_frames(image: Image.Image, stream: BinaryIO) -> int:
    """Return how many frames an image has."""
    with place_kept(stream):
        if image.format == "TIFF":
            return len(directories.pages(stream))
        if image.format == "GIF":
            return gif.count_frames(stream)
    return getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP") else 1


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
    options = {**_ENCODERS[name], **_options(held, name)}
    if name == "png":
        options["compress_level"] = encoding.png_level
    if name == "jpg":
        options["quality"] = encoding.quality
    if name == "tiff" and array.dtype.kind == "f":
        options["compression"] = "raw"  # Pillow can't deflate floats
    if len(frames) > 1:
        _WRITERS[name](stream, _Pictures(frames), held, options)
    else:
        _picture(frames[0]).save(stream, **options)
    if name == "tiff" and (kept := carried.exif_for(held, name)).fields:
        # Pillow would change letters, and fails to compress a picture with EXIF's own directory.
        exif.append(stream, kept)


def _picture(frame: Array) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame))


class _Pictures(Sequence[Image.Image]):
    """Frames as Pillow's pictures, each made when it is asked for."""

    def __init__(self, frames: Array) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> _Pictures: ...
    def __getitem__(self, index: int | slice) -> Image.Image | _Pictures:
        if isinstance(index, slice):
            return _Pictures(self._frames[index])
        return _picture(self._frames[index])


def _write_png(
    stream: BinaryIO, pictures: _Pictures, held: Metadata, options: dict[str, Any]
) -> None:
    """Encode frames as an animated PNG."""
    durations = _durations(pictures, held)
    # A picture without a duration is shown where animations are not.
    still = None in durations
    pictures[0].save(
        stream, save_all=True, append_images=pictures[1:], default_image=still, **options
    )
    if durations:
        png.set_delays(stream, [each for each in durations if each is not None])


def _write_tiff(
    stream: BinaryIO, pictures: _Pictures, _held: Metadata, options: dict[str, Any]
) -> None:
    """Encode frames one by one as TIFF, and join them.

    Pillow would look through all pages before it writes the next one.
    """
    writer = directories.PageWriter(stream)
    for picture in pictures:
        page = io.BytesIO()
        picture.save(page, **options)
        writer.write(page.getvalue())


def _write_webp(
    stream: BinaryIO, pictures: _Pictures, held: Metadata, options: dict[str, Any]
) -> None:
    """Encode frames one by one as WebP, and join them."""
    stills = []
    for picture in pictures:
        still = io.BytesIO()
        picture.save(still, **_ENCODERS["webp"])
        stills.append(still.getvalue())
    joined = webp.animation(
        stills,
        pictures[0].size,
        _durations(pictures, held) or [0] * len(stills),
        alpha=pictures[0].has_transparency_data,
        plays=held.plays,
        icc=held.icc,
        exif=options["exif"].removeprefix(carried.EXIF_MARK) if "exif" in options else None,
    )
    stream.write(joined)


_WRITERS: Final = {"png": _write_png, "tiff": _write_tiff, "webp": _write_webp}
"""How several frames are written."""


def _durations(pictures: _Pictures, held: Metadata) -> Sequence[float | None]:
    """Return how long each frame is shown; nothing where that is not known of each."""
    return held.durations if len(held.durations) == len(pictures) else ()


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


def _facts(image: Image.Image, stream: BinaryIO, max_pixels: int) -> _Facts:
    width, height = image.size
    if width * height > max_pixels:
        raise InputError(f"{width}×{height} are {too_many(max_pixels)}")
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
    frames = _count_frames(image, stream)
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


def _prepare(image: Image.Image, deep: Deep | None, turn: int) -> None:
    """Make an image ready to be decoded; of 16-bit colour by one of its raw modes."""
    if deep is not None:
        depth.tell(image, deep.raw_modes[turn])
    if image.format == "TIFF":
        # By what XMP says of orientation, Pillow would turn the pixels, but not their size.
        image.info.pop("xmp", None)


def _pixels(image: Image.Image, facts: _Facts, deep: Deep | None, turn: int) -> Array:
    """Decode one frame, and set it upright; of 16-bit colour one of its raw modes."""
    upwards, mode = _TURNS.get(facts.orientation), facts.mode
    _prepare(image, deep, turn)
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
