"""Images found out and opened by Pillow, which takes no more of a file than it can need.

Pillow's readers ask for as many bytes as a file says: all of a WebP, a chunk or a tag of gigabytes.
What they read goes through a stream that counts. Before the pixels, 64 MiB may be read: profiles,
notes and previews are smaller; behind that, as much as the pixels could take in any code.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final, cast

from PIL import Image, ImageSequence, UnidentifiedImageError

from poolcli.errors import InputError
from poolcli.files import avif, carried, directories, jpeg, png, webp
from poolcli.files.streams import Metered, length_of, place_kept
from poolcli.memory import in_words

# What Pillow finds odd and reads nevertheless would be told in its words, and of its lines of code.
warnings.filterwarnings("ignore", module=r"PIL\.")
# What Pillow logs of a broken file is no second line beside the error, unless somebody listens.
logging.getLogger("PIL").addHandler(logging.NullHandler())

HELD_WHOLE: Final = {"webp": 2, "avif": 1}
"""Formats that Pillow reads whole, and how many copies it makes to open them."""

_MOST_BESIDE: Final = 64 << 20
"""Bytes of a file that are read to find out what it is, and that it may hold beside its pixels."""
_LEAST: Final = 64
"""Bytes that each read before the pixels counts for at least."""
_MOST_OF_PIXEL: Final = 32
"""Bytes that a pixel takes at most, in text say; no format takes as many."""
_SEARCHED: Final = 1 << 20
"""Bytes of a JPEG in which its EXIF is looked for."""
_JPEG: Final = b"\xff\xd8"
"""How a JPEG begins."""
_POSTSCRIPT: Final = (b"%!PS", b"\xc5\xd0\xd3\xc6")
"""How PostScript begins, and with a preview for DOS."""
_NO_PICTURES: Final = frozenset({"EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF"})
"""What Pillow knows and can't decode."""


@contextmanager
def opened(
    stream: BinaryIO, max_pixels: int, memory: int | None = None, *, decoding: bool = True
) -> Iterator[Image.Image]:
    """Open an image; whatever Pillow makes of broken bytes is one kind of error.

    Parameters
    ----------
    stream
        The image's file.
    max_pixels
        The most pixels of a frame.
    memory
        The most bytes that opening may take, of formats that Pillow reads whole; None for any.
    decoding
        Whether the pixels are decoded too.
    """
    # Beside the image's own size, which its reader checks, there are those that only Pillow sees,
    # as of a GIF's later frames. It refuses twice this number.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, -(-max_pixels // 2))
    opening = _Opening(stream, memory)
    try:
        with opening.image() as image:
            if decoding and image.format == "PNG":
                with place_kept(stream):
                    png.refuse_excess(stream, _MOST_BESIDE)
            yield image
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError("neither an image that Pillow can read nor an .npy array") from None
    except Image.DecompressionBombError:
        raise InputError(too_many(max_pixels)) from None
    except MemoryError:
        raise InputError("too large for this machine's memory") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"a broken image: {opening.refusal or reason}") from error


def too_many(max_pixels: int) -> str:
    """Say that an image is larger than it may be."""
    return f"more than {max_pixels:,} pixels: raise --max-pixels if you trust the file"


@contextmanager
def opened_page(stream: BinaryIO, place: int, size: tuple[int, int]) -> Iterator[Image.Image]:
    """Open the page of a TIFF file that has its directory at a place, as if it were the first.

    ``size`` is that of the first page; a page of another size is not read but to its directory.
    """
    alone = directories.page_alone(stream, place, size)
    if alone is not None:
        with Image.open(io.BytesIO(alone), formats=("TIFF",)) as page:
            yield page
        return
    metered = Metered(stream, directories.pointer_to(stream, place))
    metered.allow(_MOST_BESIDE, least=_LEAST)
    with Image.open(cast("BinaryIO", metered), formats=("TIFF",)) as page:
        _allow_pixels(metered, page)
        yield page


def each_frame(image: Image.Image) -> Iterator[Image.Image]:
    """Yield an image's frames in order; for each, as much may be read as for the first."""
    # Pillow forgets it with the first frame that is decoded.
    metered = getattr(image, "fp", None)
    for frame in ImageSequence.Iterator(image):
        yield frame
        if isinstance(metered, Metered):
            metered.allow_again()


def _allow_pixels(metered: Metered, image: Image.Image) -> None:
    width, height = image.size
    metered.allow(_MOST_BESIDE + _MOST_OF_PIXEL * width * height)


class _Opening:
    """Finds out what a file is, and lets Pillow read no more of it than that takes."""

    def __init__(self, stream: BinaryIO, memory: int | None) -> None:
        self._stream, self._memory = stream, memory
        self._metered = Metered(stream)

    @property
    def refusal(self) -> str:
        """What Pillow was refused, in words; empty if nothing was."""
        return self._metered.refusal and f"{self._metered.refusal} to read its pixels"

    def image(self) -> Image.Image:
        """Return the image, of which as much may be read as its pixels can need.

        Raises
        ------
        InputError
            If finding out what it is takes too much.
        """
        self._stream.seek(0)
        start = self._stream.read(12)
        if start.startswith(_POSTSCRIPT):
            # Pillow would have Ghostscript run it, for as long as it likes.
            raise InputError(
                "PostScript is a program, not a picture: save what it draws as PNG first"
            )
        allowed = _allowed(self._stream, start, self._memory)
        image = self._identified(allowed)
        if image is None and start.startswith(_JPEG):
            image = self._with_broken_exif(allowed)
        if image is None:
            raise UnidentifiedImageError
        _allow_pixels(self._metered, image)
        return image

    def _identified(self, allowed: int) -> Image.Image | None:
        tried = set(_NO_PICTURES)
        for load_readers in (Image.preinit, Image.init):
            load_readers()
            for name in [name for name in Image.ID if name not in tried]:
                tried.add(name)
                self._metered.allow(allowed, least=_LEAST)
                with suppress(UnidentifiedImageError):
                    return Image.open(cast("BinaryIO", self._metered), formats=(name,))
                if refusal := self._metered.refusal:
                    raise InputError(
                        f"a broken image: {refusal} to read what stands before its pixels"
                    )
        return None

    def _with_broken_exif(self, allowed: int) -> Image.Image | None:
        """Return a JPEG that Pillow does not know, because of a broken resolution in its EXIF."""
        self._stream.seek(0)
        before, mark, block = self._stream.read(_SEARCHED).partition(carried.EXIF_MARK)
        if not mark:
            return None
        self._metered = Metered(self._stream, (len(before), mark.lower()))
        image = self._identified(allowed)
        if image is not None:
            # The segment's length stands before its mark, and counts itself.
            length = int.from_bytes(before[-2:]) - 2 - len(mark)
            image.info["exif"] = block[: max(length, 0)]
        return image


def _allowed(stream: BinaryIO, start: bytes, memory: int | None) -> int:
    """Return how many bytes may be read to open an image.

    Raises
    ------
    InputError
        If Pillow reads all of it, and that takes more than ``memory``, or than its pixels can need.
    """
    if start.startswith(_JPEG):
        jpeg.refuse_excess(stream)
    form = _held_whole(start)
    if form is None:
        return _MOST_BESIDE
    length = length_of(stream)
    (webp if form == "webp" else avif).refuse_excess(stream, _MOST_BESIDE)
    held = HELD_WHOLE[form] * length
    if memory is not None and held > memory:
        raise InputError(
            f"it takes {in_words(held)} at once, of which --memory allows {in_words(memory)}: "
            "images are held whole"
        )
    return length + _MOST_BESIDE


def _held_whole(start: bytes) -> str | None:
    """Return the format of a file that Pillow reads whole to open it; None for others."""
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "webp"
    return "avif" if start[4:8] == b"ftyp" else None
