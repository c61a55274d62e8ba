"""Image files with one part of any length: written sparsely, so that a gigabyte takes no disk."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

Pieces = list[bytes | int]
"""Bytes, and numbers of zeros."""


def encoded(form: str, size: tuple[int, int] = (8, 8), **options: Any) -> bytes:
    """Return a small picture in a format."""
    height, width = size
    values = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, form, **options)
    return stream.getvalue()


def png_with(name: bytes, length: int, start: bytes = b"", *, behind: bool = False) -> Pieces:
    """Return a PNG with a chunk before its pixels, or behind them; its checksum is right."""
    content = encoded("PNG")
    at = content.index(b"IEND") - 4 if behind else content.index(b"IDAT") - 4
    return [content[:at], *_chunk(name, length, start), content[at:]]


def _chunk(name: bytes, length: int, start: bytes) -> Pieces:
    check, left = zlib.crc32(name + start), length - len(start)
    block = bytes(1 << 20)
    while left:
        size = min(left, len(block))
        check = zlib.crc32(block[:size], check)
        left -= size
    return [struct.pack(">I", length) + name + start, length - len(start), struct.pack(">I", check)]


def png_of_pixels(length: int) -> Pieces:
    """Return a PNG of 8 by 8 pixels with so many bytes of their code."""
    content = encoded("PNG")
    at, end = content.index(b"IDAT") - 4, content.index(b"IEND") - 4
    start = content[at + 8 : end - 4]
    return [content[:at], *_chunk(b"IDAT", length, start), content[end:]]


def jpeg_with(mark: int, length: int, start: bytes = b"") -> Pieces:
    """Return a JPEG with as many segments as it takes to have so many bytes."""
    content = encoded("JPEG")
    segment = struct.pack(">BBH", 0xFF, mark, 0xFFFF) + start
    count = -(-length // 0xFFFF)
    repeated: Pieces = [segment, 0xFFFF - 2 - len(start)]
    return [content[:2], *repeated * count, content[2:]]


def tiff_with(tag: int, kind: int, length: int, *, used: int = 1) -> Pieces:
    """Return a TIFF with a tag of so many bytes, ``used`` bytes a value."""
    content = encoded("TIFF", compression="raw")
    (place,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, place)
    entries = content[place + 2 : place + 2 + 12 * count]
    listed = [entries[at : at + 12] for at in range(0, len(entries), 12)]
    at = len(content) + len(content) % 2
    behind = at + 2 + 12 * (count + 1) + 4
    listed.append(struct.pack("<HHII", tag, kind, length // used, behind))
    ordered = sorted(listed, key=lambda entry: int.from_bytes(entry[:2], "little"))
    directory = struct.pack("<H", count + 1) + b"".join(ordered) + bytes(4)
    whole = content[:4] + struct.pack("<I", at) + content[8:] + bytes(len(content) % 2)
    return [whole + directory, length]


def webp_with(name: bytes, length: int) -> Pieces:
    """Return a WebP with a chunk behind its pixels."""
    content = encoded("WEBP", lossless=True)
    flags = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}.get(name, 0)
    extended = b"VP8X" + struct.pack("<IB3x", 10, flags) + b"\7\0\0" * 2
    body = b"WEBP" + extended + content[12:]
    riff = b"RIFF" + struct.pack("<I", len(body) + 8 + length)
    return [riff + body + name + struct.pack("<I", length), length]


def avif_with(length: int) -> Pieces:
    """Return an AVIF with an unknown box behind its pixels."""
    return [encoded("AVIF"), struct.pack(">I4s", length, b"free"), length - 8]


def gif_with(length: int, kind: int = 0xFE, block: int = 255, *, behind: bool = False) -> Pieces:
    """Return a GIF with an extension of so many bytes, before its picture or behind it."""
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "GIF")
    content = stream.getvalue()
    at = len(content) - 1 if behind else 13 + (3 << (content[10] & 7) + 1)
    size = bytes([block]) + b"x" * block
    part = size * ((1 << 20) // len(size))
    repeated = [part] * max(1, length // len(part))
    picture = content[at:-1] if not behind else content[content.index(b",") : -1]
    return [content[:at], bytes([0x21, kind]), *repeated, b"\0", picture, b";"]


def write(path: Path, pieces: Pieces) -> Path:
    """Write pieces to a file, its zeros as holes."""
    with path.open("wb") as stream:
        for piece in pieces:
            if isinstance(piece, int):
                stream.seek(piece, io.SEEK_CUR)
            else:
                stream.write(piece)
        stream.truncate()
    return path


HOSTILE: Final[dict[str, Callable[[int], Pieces]]] = {
    "zeros": lambda length: [length],
    "png-text": lambda length: png_with(b"tEXt", length, b"Comment\0"),
    "png-international": lambda length: png_with(b"iTXt", length, b"k\0\0\0\0\0"),
    "png-compressed": lambda length: png_with(b"zTXt", length, b"k\0\0"),
    "png-profile": lambda length: png_with(b"iCCP", length, b"p\0\0"),
    "png-exif": lambda length: png_with(b"eXIf", length),
    "png-unknown": lambda length: png_with(b"prIv", length),
    "png-text-behind": lambda length: png_with(b"tEXt", length, b"Comment\0", behind=True),
    "png-unknown-behind": lambda length: png_with(b"prIv", length, behind=True),
    "png-pixels": png_of_pixels,
    "jpeg-profile": lambda length: jpeg_with(0xE2, length, b"ICC_PROFILE\0\1\1"),
    "jpeg-exif": lambda length: jpeg_with(0xE1, length, b"Exif\0\0"),
    "jpeg-xmp": lambda length: jpeg_with(0xE1, length, b"http://ns.adobe.com/xap/1.0/\0"),
    "jpeg-photoshop": lambda length: jpeg_with(0xED, length, b"Photoshop 3.0\0"),
    "jpeg-unknown": lambda length: jpeg_with(0xEB, length),
    "jpeg-comment": lambda length: jpeg_with(0xFE, length),
    "tiff-description": lambda length: tiff_with(270, 2, length),
    "tiff-profile": lambda length: tiff_with(34675, 7, length),
    "tiff-xmp": lambda length: tiff_with(700, 1, length),
    "tiff-numbers": lambda length: tiff_with(65000, 4, length, used=4),
    "tiff-fractions": lambda length: tiff_with(65000, 5, length, used=8),
    "webp-unknown": lambda length: webp_with(b"junk", length),
    "webp-exif": lambda length: webp_with(b"EXIF", length),
    "webp-profile": lambda length: webp_with(b"ICCP", length),
    "avif-unknown": avif_with,
    "gif-comment": gif_with,
    "gif-comment-of-small-blocks": lambda length: gif_with(length, block=1),
    "gif-comment-behind": lambda length: gif_with(length, behind=True),
    "gif-application": lambda length: gif_with(length, 0xFF),
    "postscript": lambda length: [b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 9 7\n", length],
    "portable": lambda length: [b"P6\n#", b"x" * length],
    "x-pixmap": lambda length: [b"/* XPM */\n", length],
    "icon": lambda length: [
        struct.pack("<HHHBBBBHHII", 0, 1, 1, 8, 8, 0, 0, 1, 32, length, 22),
        b"\x89PNG\r\n\x1a\n", length,
    ],
    "icons": lambda length: [
        b"icns" + struct.pack(">I", length) + b"ic07" + struct.pack(">I", length - 8), length - 16
    ],
    "photoshop": lambda length: [
        b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 8, 8, 8, 3),
        struct.pack(">I", length), length, struct.pack(">II", 0, 0),
    ],
    "targa": lambda length: [
        struct.pack("<BBBHHBHHHHBB", 255, 1, 1, 0, 65535, 24, 0, 0, 8, 8, 8, 0), length
    ],
    "jpeg2000": lambda length: [
        b"\0\0\0\x0cjP  \r\n\x87\n", struct.pack(">I4s", 20, b"ftyp"), b"jp2 \0\0\0\0jp2 ",
        struct.pack(">I4s", length, b"jp2h"), length - 8,
    ],
    "brush": lambda length: [
        struct.pack(">IIIII", 28 + 2**30, 2, 8, 8, 1) + b"GIMP" + struct.pack(">I", 10), length
    ],
    "directx": lambda length: [b"DDS " + struct.pack("<I", 124), length],
    "blizzard": lambda length: [b"BLP2" + struct.pack("<Ibbbb", 1, 1, 0, 0, 0), length],
    "silicon": lambda length: [struct.pack(">HBBHHHH", 474, 1, 1, 3, 8, 8, 3), length],
    "sun": lambda length: [
        struct.pack(">IIIIIIII", 0x59A66A95, 8, 8, 8, 64, 1, 1, length - 32), length
    ],
    "flic": lambda length: [struct.pack("<IHHHHHHI", length, 0xAF11, 4, 8, 8, 8, 3, 9), length],
    "bitmap": lambda length: [
        b"BM" + struct.pack("<IHHI", length, 0, 0, 54) + struct.pack("<I", length - 14), length
    ],
    "fits": lambda length: [b"SIMPLE  =                    T".ljust(80), b" " * length],
}  # fmt: skip
"""Files by what is long in them, each of at least so many bytes."""
