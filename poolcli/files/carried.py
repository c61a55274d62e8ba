"""What an image that Pillow has opened carries beside its pixels, read without decoding these.

Where Pillow would decode the pixels, invent what nobody said, or give up, the file is asked itself.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from poolcli.files import depth, exif, png
from poolcli.files.exif import Exif
from poolcli.files.metadata import Metadata, sensible

if TYPE_CHECKING:
    from PIL import Image

SIDEWAYS: Final = (5, 6, 7, 8)
"""Orientations that turn a picture by a quarter."""
EXIF_MARK: Final = b"Exif\0\0"
"""What stands before an EXIF block in a JPEG, and elsewhere may."""
_INCHES_AND_CENTIMETRES: Final = (1, 2)


@dataclass(frozen=True, slots=True)
class Carried:
    """What an image carries, and how it has to be turned."""

    metadata: Metadata
    orientation: int


def read(image: Image.Image, stream: BinaryIO) -> Carried:
    """Read what an image carries, but for the times of its frames, which its frames tell."""
    said, warnings = _exif(image, stream)
    if depth.is_deep_avif(image, stream):
        warnings = (*warnings, "10 or 12 bits a channel, of which Pillow reads 8")
    # A TIFF has a tag of its own, beside which XMP counts for nothing.
    orientation = said.orientation or (1 if image.format == "TIFF" else _orientation_of_xmp(image))
    dpi, icc = sensible(_dpi(image, said)), image.info.get("icc_profile")
    metadata = Metadata(
        icc=icc if isinstance(icc, bytes) else None,
        dpi=(dpi[1], dpi[0]) if dpi and orientation in SIDEWAYS else dpi,
        exif=said.block() if said.fields else None,
        has_note=said.has_note,
        warnings=warnings,
    )
    return Carried(metadata, orientation)


def plays(image: Image.Image) -> int | None:
    """Return how often frames are played, 0 for ever; None if nothing is said."""
    loop = image.info.get("loop")
    if image.format == "GIF":
        # It says how often they are repeated, and nothing where they are not.
        return 1 if loop is None else loop and loop + 1
    return loop if isinstance(loop, int) else None


def exif_for(held: Metadata, name: str) -> Exif:
    """Return the EXIF of a result, with what its format has no other place for."""
    kept = exif.parse(io.BytesIO(held.exif)) if held.exif else Exif()
    if held.software and name in ("tiff", "webp"):
        kept = kept.with_software(held.software)
    if held.dpi and name != "tiff" and (kept.fields or name == "webp"):
        kept = kept.with_resolution(held.dpi)
    return kept


def _exif(image: Image.Image, stream: BinaryIO) -> tuple[Exif, tuple[str, ...]]:
    """Return what EXIF says, and warnings of what can't be read of it."""
    position = stream.tell()
    try:
        if image.format == "TIFF":
            found = exif.parse(stream, is_file=True)
        elif block := _block(image, stream):
            found = exif.parse(io.BytesIO(block))
        else:
            return Exif(), ()
    except (ValueError, struct.error) as error:
        return Exif(), (f"EXIF can't be read and is dropped: {error}",)
    finally:
        stream.seek(position)
    if not found.unread:
        return found, ()
    return found, (f"EXIF: {found.unread:,} of its fields can't be read and are dropped",)


def _block(image: Image.Image, stream: BinaryIO) -> bytes:
    """Return an image's EXIF as bytes, wherever it stands; none is empty."""
    block = image.info.get("exif")
    if image.format == "PNG" and not block:
        # Pillow would decode the pixels to look behind them.
        block = png.chunk_at_end(stream, b"eXIf")
        text = image.info.get("Raw profile type exif")
        if not block and isinstance(text, str):
            # ImageMagick's way: a word, a length, and the bytes as hexadecimal digits.
            block = bytes.fromhex("".join(text.split()[2:]))
    found = block if isinstance(block, bytes) else b""
    while found.startswith(EXIF_MARK):
        found = found.removeprefix(EXIF_MARK)
    return found


def _orientation_of_xmp(image: Image.Image) -> int:
    """Return the orientation that XMP says, as far as it stands before the pixels."""
    packet = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or ""
    text = packet.decode("latin-1") if isinstance(packet, bytes) else str(packet)
    found = re.search(r"tiff:Orientation(?:=\"|>)([1-8])", text)
    return int(found[1]) if found else 1


def _dpi(image: Image.Image, said: Exif) -> tuple[float, ...] | None:
    """Return the resolution that a file says, of which Pillow would invent one for some."""
    unit = image.info.get("jfif_unit")
    is_jpeg = image.format in ("JPEG", "MPO")
    if image.format == "TIFF" or (is_jpeg and unit not in _INCHES_AND_CENTIMETRES):
        return said.resolution
    return image.info.get("dpi") or said.resolution
