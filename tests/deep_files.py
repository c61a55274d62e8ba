"""PNG and TIFF files of 16 bits a sample, written by hand: Pillow writes none in colour."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_PNG_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
"""Of all passes but the last: first row and column, and the steps."""


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    samples: Array,
    *,
    row_filter: Literal[0, 1, 2] = 0,
    interlaced: bool = False,
    clear: tuple[int, ...] | None = None,
    before: bytes = b"",
) -> bytes:
    """Write samples, H×W or H×W×C of 16 bits; rows as they are, or less what is left or above."""
    cube = np.atleast_3d(samples).astype(">u2")
    height, width, channels = cube.shape
    passes = [*_ADAM7, (1, 0, 2, 1)] if interlaced else [(0, 0, 1, 1)]
    rows = b"".join(
        _rows(cube[top::down, left::across], row_filter) for top, left, down, across in passes
    )
    kind = _PNG_TYPES[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, int(interlaced))
    transparent = b"" if clear is None else chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear))
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            before,
            transparent,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


def _rows(cube: Array, row_filter: int) -> bytes:
    if 0 in cube.shape:
        return b""
    pixels = np.frombuffer(cube.tobytes(), np.uint8).reshape(*cube.shape[:2], -1)
    before = np.zeros_like(pixels)
    if row_filter == 1:
        before[:, 1:] = pixels[:, :-1]
    if row_filter == 2:
        before[1:] = pixels[:-1]
    return b"".join(bytes([row_filter]) + row.tobytes() for row in pixels - before)


def tiff(  # noqa: PLR0913 - ways to store the same
    *pages: Array,
    order: Literal["<", ">"] = "<",
    planes: bool = False,
    tile: tuple[int, int] | None = None,
    rows: int | None = None,
    deflated: bool = False,
    predicted: bool = False,
    alpha: int = 2,
    tags: dict[int, int | None] | None = None,
) -> bytes:
    """Write pages of samples, H×W or H×W×C, in strips of so many rows or in tiles.

    ``tags`` are numbers that take the place of others, or None to leave these out.
    """
    content = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    link = 4
    for page in pages:
        cube = np.atleast_3d(page)
        height, width, channels = cube.shape
        kinds = {1: 1, 2: 1, 3: 2, 4: 2}
        parts = list(_parts(cube, planes=planes, tile=tile, rows=rows or height))
        if predicted:
            parts = [np.diff(part, axis=1, prepend=part[:, :1] * 0) for part in parts]
        coded = [part.astype(part.dtype.newbyteorder(order)).tobytes() for part in parts]
        coded = [zlib.compress(part) for part in coded] if deflated else coded
        places = []
        for part in coded:
            places.append(len(content))
            content += part + bytes(len(part) % 2)
        sizes = [len(part) for part in coded]
        entries: dict[int, tuple[str, list[int]]] = {
            256: ("I", [width]),
            257: ("I", [height]),
            258: ("H", [8 * page.itemsize] * channels),
            259: ("H", [8 if deflated else 1]),
            262: ("H", [kinds[channels]]),
            277: ("H", [channels]),
            284: ("H", [2 if planes else 1]),
        }
        if tile is None:
            entries |= {273: ("I", places), 278: ("I", [rows or height]), 279: ("I", sizes)}
        else:
            entries |= {322: ("I", [tile[1]]), 323: ("I", [tile[0]])}
            entries |= {324: ("I", places), 325: ("I", sizes)}
        if predicted:
            entries[317] = ("H", [2])
        if channels in (2, 4):
            entries[338] = ("H", [alpha])
        entries |= {
            tag: ("H", [] if value is None else [value]) for tag, value in (tags or {}).items()
        }
        entries = {tag: entry for tag, entry in entries.items() if entry[1]}
        listed = b""
        for tag in sorted(entries):
            code, values = entries[tag]
            packed = struct.pack(f"{order}{len(values)}{code}", *values)
            if len(packed) > 4:
                place = len(content)
                content += packed + bytes(len(packed) % 2)
                packed = struct.pack(f"{order}I", place)
            kind = {"H": 3, "I": 4}[code]
            listed += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
        struct.pack_into(f"{order}I", content, link, len(content))
        content += struct.pack(f"{order}H", len(entries)) + listed
        link = len(content)
        content += bytes(4)
    return bytes(content)


def _parts(
    cube: Array, *, planes: bool, tile: tuple[int, int] | None, rows: int
) -> Iterator[Array]:
    """Yield strips or tiles, of each plane if planes stand apart."""
    height, width, channels = cube.shape
    for plane in [[channel] for channel in range(channels)] if planes else [list(range(channels))]:
        whole = cube[..., plane]
        if tile is None:
            for top in range(0, height, rows):
                yield whole[top : top + rows]
            continue
        down, across = tile
        padded = np.pad(whole, ((0, -height % down), (0, -width % across), (0, 0)), mode="edge")
        for top in range(0, height, down):
            for left in range(0, width, across):
                yield padded[top : top + down, left : left + across]
