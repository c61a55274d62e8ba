"""What is fuzzed: for each reader a corpus, how it is mutated, and how an input is run.

A run returns where an input is accepted and raises PoolError where it is refused. Whatever else
happens is a defect: another error, an answer that contradicts itself, a word on standard error.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from PIL import Image

import poolcli
from poolcli.blocks import Frame
from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import InputError, PoolError
from poolcli.files import archives, arrays, recipes
from poolcli.files.inputs import Source
from poolcli.files.streams import Held
from poolcli.memory import needed_at_once
from poolcli.operations import OPERATIONS
from poolcli.report import explain, machine, words
from poolcli.specs import keys_of
from poolcli.stages import Chain, Stage
from tests.fuzz_mutations import LONGEST, mutated

_DEFAULT_MEMORY: Final = 512 << 20
"""What ``poolcli run`` keeps to: an image that takes more is refused by its header."""
_RUN_WITHIN: Final = 1 << 20
"""Bytes and operations up to which a planned chain is run too."""


@dataclass(frozen=True, slots=True)
class Target:
    """A reader to be fuzzed."""

    share: float
    """Of all inputs, how many are for this one."""
    corpus: Callable[[], list[bytes]]
    """Valid inputs to begin with."""
    mutate: Callable[[Random, Sequence[bytes]], bytes]
    """Return another input, from those that were of interest so far."""
    run: Callable[[bytes], None]


# Specs: an input is a chain, its specs apart by this mark.

_APART: Final = "\x1e"
_LAYERS: Final = (
    "MaxPool2d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False)",
    "nn.AvgPool2d(2)",
    "torch.nn.AvgPool1d(kernel_size=(3,), count_include_pad=False)",
    "AvgPool3d(kernel_size=(1, 2, 2), divisor_override=3)",
    "AdaptiveAvgPool2d(output_size=(7, None))",
    "AdaptiveMaxPool1d(5, return_indices=True)",
    "(conv1): Conv2d(3, 8, kernel_size=(3, 3), padding=same, padding_mode=zeros, bias=False)",
    "LPPool2d(norm_type=2.0, kernel_size=2)",
    "FractionalMaxPool2d(kernel_size=2, output_size=(3, 3))",
    "Upsample(scale_factor=2.0, mode='bilinear', align_corners=False)",
    "UpsamplingNearest2d(scale_factor=2)",
    "MaxUnpool2d(2)",
    "ReLU(inplace=True)",
)
_KEYS: Final = (
    *("stride=2", "s=2x1", "s=1", "pad=1", "pad=1x0-1", "pad=same", "pad=same-lower", "pad=valid"),
    *("dilation=2", "ceil", "include-pad", "exclude-pad", "divisor=3", "pad-mode=reflect"),
    *("pad-mode=wrap", "pad-mode=edge", "out=3", "out=2x_", "out=3,fractional", "seed=7"),
    *("samples=s.npy", "over=channels", "repeat=2", "norm=3", "eps=0.1", "q=0.9", "mix=0.3"),
    *("mode=bilinear", "mode=nearest", "filter=gaussian", "filter=sobel-x", "weights=w.npy"),
    *("bias=b.npy", "bias", "groups=2", "out=4", "channels=3"),
)
SPEC_TOKENS: Final = tuple(
    word.encode()
    for word in (
        *OPERATIONS, *_KEYS, *_LAYERS, *(layer.partition("(")[0] for layer in _LAYERS), _APART,
        *(',', ':', 'x', '_', '-', '=', '*2', '*1000', '"', '(', ')', ', ', 'global', 'nan'),
        *("None", "True", "(2, 2)", "[2]", "stride=", "padding='same'", "é", "\n", "\0", "\\"),
    )
)  # fmt: skip


def _specs() -> list[bytes]:
    chains = ["max:2", "max:3x2,stride=2,pad=1", "avg:global", "max:2*3", "blur", "conv:3,out=4"]
    chains += ["max:2,out=3,fractional", "conv,weights=w.npy,bias=b.npy", "up:2,mode=bilinear"]
    chains += [f"max:2{_APART}relu{_APART}unpool", f"up:2*3{_APART}avg:3,pad=1*4", *_LAYERS]
    chains += [f"{name}:3,stride=2,pad=1" for name in OPERATIONS]
    return [chain.encode() for chain in chains]


def _mutated_specs(rng: Random, parents: Sequence[bytes]) -> bytes:
    if rng.random() < 0.5:
        return mutated(rng, parents, SPEC_TOKENS)
    return _APART.join(_grown(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))).encode()


def _grown(rng: Random) -> str:
    """Return a spec by the grammar, most often of keys that go together."""
    operation = rng.choice(tuple(OPERATIONS.values()))
    known = [*chain.from_iterable(keys_of(operation)), "s"]
    keys = [key for key in _KEYS if key.partition("=")[0] in known or rng.random() < 0.02]
    size = "x".join(str(rng.randint(1, 4)) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    place = "" if operation.family == "plain" else rng.choice((f":{size}",) * 3 + (":global", ""))
    count = min(len(keys), rng.choice((0, 0, 1, 1, 2, 3)))
    return ",".join((operation.name + place, *rng.sample(keys, count)))


def run_specs(content: bytes) -> None:
    """Parse a chain; it must print and parse again as the same, and plan, report, run or refuse."""
    stages = Chain.parse(*content.decode("utf-8", "surrogateescape").split(_APART))
    for stage in dict.fromkeys(stages):
        assert Stage.parse(str(stage)) == stage, f"{stage} is not the stage that it prints"
    _run_chain(stages, content)


def _run_chain(stages: Chain, content: bytes) -> None:
    """Plan a chain on shapes at random, report what is planned, and run what is small."""
    rng = Random(zlib.crc32(content))  # noqa: S311 - the same for the same input
    for layout in (rng.choice(("W", "HW", "CW", "NHWC")), rng.choice(("CHW", "NCHW", "CDHW"))):
        longest = rng.choice((4, 12, 30, 10**12))
        shape = [rng.randint(rng.random() > 0.1, longest) for _ in layout]
        dtype = rng.choice(tuple(ITEM_SIZES))
        try:
            planned = poolcli.plan(shape, stages, layout=layout, dtype=dtype)
        except PoolError:
            continue
        for step in planned.steps:
            if step.undoes is None:
                again = poolcli.plan(step.input_shape, step.spec, layout=layout, dtype=dtype)
                assert again.output_shape == step.shape, f"{step.spec} is not the stage that it was"
        machine.to_json(machine.plan_facts(planned))
        machine.to_csv(planned)
        explain.explain(planned)
        words.rows(planned)
        words.total(planned)
        needed, costs = needed_at_once(planned, range(1000)), planned.costs
        if max(needed, costs.macs, costs.comparisons, costs.additions) <= _RUN_WITHIN:
            try:
                pooled = poolcli.pool(np.ones(shape, dtype), stages, layout=layout)
            except PoolError:
                continue
            assert pooled.shape == planned.output_shape, f"{pooled.shape} is not what was planned"


def prepare(folder: Path) -> None:
    """Write the files that specs name into the working directory of the runs."""
    np.save(folder / "w.npy", np.ones((4, 3, 2, 2), np.float32))
    np.save(folder / "b.npy", np.ones(4, np.float32))
    np.save(folder / "s.npy", np.full((1, 3, 2), 0.3))


# Recipes: an input is a TOML file.

RECIPE_TOKENS: Final = (
    *(b'[[stage]]\nspec = "max:2"\n', b"[[stage]]\n", b'spec = "relu"\n', b'layout = "CHW"\n'),
    *(b'"""', b"'''", b"'", b'"', b"[", b"]", b"{", b"}", b"a.", b"\\u0000", b"\\ud800", b"#"),
    *(b"layout = ", b"spec = ", b"stage = ", b"[stage]\n", b"true", b"1979-05-27T07:32:00Z"),
    *(b"\r\n", b"\xff", b"\0", b"[]", b"{a=1}", b"x = 1\n", b"weights=w.npy", b"*1000"),
)


def _recipes() -> list[bytes]:
    texts = [path.read_bytes() for path in sorted(recipes.PRESETS.glob("*.toml"))]
    chains = [chain.decode().split(_APART) for chain in _specs()]
    return texts + [_recipe(chain) for chain in chains]


def _recipe(specs: Sequence[str]) -> bytes:
    stages = "".join(f"[[stage]]\nspec = '''{spec}'''\n" for spec in specs)
    return f'layout = "CHW"\n{stages}'.encode()


def _mutated_recipe(rng: Random, parents: Sequence[bytes]) -> bytes:
    if rng.random() < 0.6:
        return mutated(rng, parents, RECIPE_TOKENS)
    return _recipe([_grown(rng) for _ in range(rng.choice((1, 1, 2, 3)))])


def run_recipe(content: bytes) -> None:
    """Load a recipe from a file in the working directory, and plan it."""
    path = Path("recipe.toml")
    path.write_bytes(content)
    recipe = recipes.load(path)
    _run_chain(recipe.chain, content)


# Arrays: an input is an .npy file.

DESCRS: Final = (
    *("'<f4'", "'>i8'", "'|b1'", "'<u2'", "'f2'", "'float64'", "'|O'", "'<c8'", "'<U3'", "'S5'"),
    *("'<M8[s]'", "'<m8[7D]'", "'<M8[s/0]'", "'V4'", "'f4,i2'", "'3f4'", "('<f4', (2,))", "None"),
    *("[('a', '<f4'), ('b', '<i2', (2, 2))]", "[(('title', 'name'), '<f4')]", "[('o', '|O')]"),
    *("{'names': ['a'], 'formats': ['<f4'], 'offsets': [4]}", "{'a': ('<f4', 0)}", "3", "b'<f4'"),
)
ARRAY_TOKENS: Final = (
    *(descr.encode() for descr in DESCRS),
    *(b"'descr': ", b"'shape': ", b"'fortran_order': ", b"(", b")", b"[", b"]", b"{", b"}", b","),
    *(b"True", b"False", b"-", b"1+", b"...", b"\\d", b"'", b"3L", b"#", b"\n", b"\x93NUMPY"),
)


def array_file(header: bytes, elements: bytes, version: int = 1) -> bytes:
    """Return an array's file whose header's length is told right."""
    form, most = ("<H", 0xFFFF) if version == 1 else ("<I", LONGEST)
    size = struct.pack(form, min(len(header), most))
    return b"\x93NUMPY" + bytes((version, 0)) + size + header[:most] + elements


def _arrays() -> list[bytes]:
    files = []
    for index, name in enumerate(ITEM_SIZES):
        array = np.arange(24).reshape(2, 3, 4).astype(name)
        stream = io.BytesIO()
        version = (index % 3 + 1, 0)
        whole = np.asfortranarray(array) if index % 2 else array.astype(array.dtype.newbyteorder())
        np.lib.format.write_array(stream, whole, version)
        files.append(stream.getvalue())
    return files


def _mutated_array(rng: Random, parents: Sequence[bytes]) -> bytes:
    kind = rng.random()
    if kind < 0.3:
        return mutated(rng, parents, ARRAY_TOKENS)
    if kind < 0.6:
        # The header alone, with its length set right again.
        version, header, elements = _parts(rng.choice(parents))
        return array_file(mutated(rng, [header], ARRAY_TOKENS), elements, version)
    lengths = [rng.choice((0, 1, 1, 2, 3, 4, 2**40)) for _ in range(rng.randint(0, 6))]
    shape = tuple(lengths) if prod(lengths) < LONGEST else tuple(lengths[:1])
    text = (
        f"{{'descr': {rng.choice(DESCRS)}, 'fortran_order': {rng.random() < 0.3}, "
        f"'shape': {shape}, }}"
    )
    elements = bytes(max(0, min(prod(shape) * 8, LONGEST) + rng.choice((0, 0, 5, -3))))
    return array_file(text.encode(), elements, rng.randint(1, 3))


def _parts(content: bytes) -> tuple[int, bytes, bytes]:
    """Return the version of an array's file, its header, and its elements."""
    version = content[6] if len(content) > 12 and 1 <= content[6] <= 3 else 1
    start = 10 if version == 1 else 12
    size = int.from_bytes(content[8:start], "little")
    return version, content[start : start + size], content[start + size :]


def run_array(content: bytes) -> None:
    """Read an array whole and in parts, and by NumPy where that reads it too."""
    source = Source("-", held=Held(content))
    header = source.read_header(None)
    if prod(header.shape) * ITEM_SIZES[header.dtype] > _DEFAULT_MEMORY:
        raise InputError("more than the default memory")
    array, _ = source.read()
    assert (array.shape, array.dtype.name) == (header.shape, header.dtype), "header and elements"
    if not content.startswith(b"\x93NUMPY"):
        return
    if array.ndim and source.can_be_read_in_parts():
        reader = arrays.ArrayReader.of(io.BytesIO(content))
        ends = ((0, len(array) // 2), (len(array) // 2, len(array)))
        parts = [reader.read(Frame(0, 0), range(1), *rows) for rows in ends]
        assert np.concatenate(parts, 1).tobytes() == array.tobytes(), "parts and whole"
    try:
        expected = np.load(io.BytesIO(content), allow_pickle=False, max_header_size=10_000)
    except Exception:  # noqa: BLE001 - what NumPy refuses in any way says nothing
        return
    if expected.dtype == bool:
        expected = expected.view(np.uint8) != 0
    native = expected.astype(expected.dtype.newbyteorder("="))
    assert native.tobytes() == array.tobytes(), "NumPy reads other elements"


# Images: an input is a file of any format that Pillow writes.


def _images() -> list[bytes]:
    Image.init()
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (7, 9), np.uint8))
    colour = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8))
    modes = [grey.convert(mode) for mode in ("1", "L", "I", "F", "LA", "P", "I;16")]
    bits = modes[0]
    modes += [colour.convert(mode) for mode in ("RGB", "RGBA", "P", "CMYK", "YCbCr", "LAB", "HSV")]
    files = [_written(image, form) for form in Image.SAVE for image in modes]
    frames = {"save_all": True, "append_images": [grey.rotate(180)], "duration": 9}
    files += [_written(grey, form, **frames) for form in Image.SAVE_ALL]
    files += [_written(colour, "TIFF", compression=name) for name in _COMPRESSIONS]
    files += [_written(bits, "TIFF", compression=name) for name in ("group3", "group4")]
    files += [_written(colour, "JPEG", progressive=True)]
    exif = Image.Exif()
    exif[0x0112] = 6
    files += [_written(colour, form, exif=exif) for form in ("JPEG", "PNG", "WEBP", "TIFF")]
    files += [
        _written(grey, "GIF", transparency=3),
        _written(colour, "PNG", transparency=(1, 2, 3)),
    ]
    return [file for file in dict.fromkeys(files) if 0 < len(file) <= _LARGEST_IMAGE]


_LARGEST_IMAGE: Final = 1 << 12
_COMPRESSIONS: Final = (
    *("packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "jpeg", "lzma", "zstd"),
)


def _written(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    try:
        image.save(stream, form, **options)
    except Exception:  # noqa: BLE001 - a format that can't hold the mode
        return b""
    return stream.getvalue()


IMAGE_TOKENS: Final = (
    *(b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IEND", b"eXIf", b"iTXt"),
    *(b"\xff\xd8", b"\xff\xda", b"\xff\xc0", b"\xff\xc4", b"\xff\xdb", b"\xff\xe1Exif\0\0"),
    *(b"GIF89a", b"\x21\xf9\x04", b",", b"II*\0", b"MM\0*", b"II+\0", b"RIFF", b"WEBPVP8L"),
    *(b"BM", b"P6 ", b"P7\n", b"8BPS", b"\0\0\0\x0cjP  ", b"ftypavif", b"qoif", b"\x89PNG\r\n"),
)


def _mutated_image(rng: Random, parents: Sequence[bytes]) -> bytes:
    content = mutated(rng, parents, IMAGE_TOKENS)
    return sealed(content) if rng.random() < 0.8 else content


def sealed(content: bytes) -> bytes:
    """Return a PNG with its checksums set right, so that its reader goes on; others as they are."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    pieces, at = [content[:8]], 8
    while at + 12 <= len(content):
        size = int.from_bytes(content[at : at + 4])
        body = content[at + 4 : at + 8 + size]
        pieces += [content[at : at + 4], body, struct.pack(">I", zlib.crc32(body))]
        at += 12 + size
    return b"".join(pieces) + content[at:]


def run_image(content: bytes) -> None:
    """Read a picture as an input of ``poolcli run``, which reads no more than memory allows."""
    source = Source("-", held=Held(content))
    header = source.read_header(None)
    if 2 * prod(header.shape) * ITEM_SIZES[header.dtype] > _DEFAULT_MEMORY:
        raise InputError("images are held whole")
    array, _ = source.read()
    assert (array.shape, array.dtype.name) == (header.shape, header.dtype), "header and pixels"


# Archives: an input is a zip file of .npy files.

ARCHIVE_TOKENS: Final = (
    *(b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"\1\0\x1c\0", b".npy", b"\xff" * 4),
    *(
        b"\x93NUMPY",
        b"BZh9",
        b"\x09\x04\5\0",
        b"\0\0\x08\0",
        b"\0\0\x0c\0",
        b"\2\0\x0e\0",
        bytes(4),
    ),
)


def _archives() -> list[bytes]:
    arrays_held = _arrays()
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    files = []
    for index, method in enumerate(methods):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            for number, content in enumerate(arrays_held[index : index + 3]):
                with archive.open(f"a/{number}.npy", "w", force_zip64=number == 1) as member:
                    member.write(content)
            archive.comment = b"a comment" * (index % 2)
        files.append(stream.getvalue())
    return files


def _mutated_archive(rng: Random, parents: Sequence[bytes]) -> bytes:
    return mutated(rng, parents, ARCHIVE_TOKENS)


def run_archive(content: bytes) -> None:
    """Read an archive's arrays, and what zipfile reads of them too: it must be the same."""
    found = archives.members(io.BytesIO(content))
    assert len(archives.distinct_names(found)) <= len(found)
    for name, entry in list(found.items())[:4]:
        source = Source(f"m.npz:{name}", held=Held(content), member=name, entry=entry)
        try:
            if prod(source.read_header(None).shape) > _RUN_WITHIN:
                continue
            source.read()
            with source.opened(anywhere=entry.size < _RUN_WITHIN) as member:
                read = member.read(_RUN_WITHIN)
        except PoolError:
            continue
        assert _read_by_zipfile(content, name) in (None, read), "zipfile reads other bytes"


def _read_by_zipfile(content: bytes, name: str) -> bytes | None:
    """Return the first bytes of an array; None where zipfile refuses them, in whatever way."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.open(f"{name}.npy").read(_RUN_WITHIN)
    except Exception:  # noqa: BLE001 - anything that broken bytes lead to
        return None


TARGETS: Final = {
    "specs": Target(0.3, _specs, _mutated_specs, run_specs),
    "arrays": Target(0.25, _arrays, _mutated_array, run_array),
    "recipes": Target(0.15, _recipes, _mutated_recipe, run_recipe),
    "images": Target(0.25, _images, _mutated_image, run_image),
    "archives": Target(0.05, _archives, _mutated_archive, run_archive),
}
