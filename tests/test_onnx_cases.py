"""ONNX's own conformance cases, translated to specs and run through the public API.

Two sources, both in the installed onnx package: the node cases, which it makes when asked, and the
cases on disk, most of them once exported from PyTorch. Maxima are exact here; of the rest each
tolerance follows from float32's precision and the number of elements that are added.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

import poolcli

Array = NDArray[Any]

EPS = float(np.finfo(np.float32).eps)
LAYOUTS = {3: "NCW", 4: "NCHW", 5: "NCDHW"}
OPERATIONS = {"MaxPool": "max", "AveragePool": "avg", "LpPool": "lp"}
GLOBAL = {"GlobalMaxPool": "max", "GlobalAveragePool": "avg", "GlobalLpPool": "lp"}
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"

ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-4}
"""Cases whose inputs and answers ONNX has rounded to four decimals, and what that makes."""

ENLARGEMENTS = {
    "test_resize_upsample_scales_linear": "bilinear",
    "test_resize_upsample_scales_nearest": "nearest",
    "test_resize_upsample_scales_nearest_axes_2_3": "nearest",
    "test_upsample_nearest": "nearest",
}
"""Of the many cases of Resize, those that enlarge by whole factors with half_pixel."""


@dataclass(frozen=True)
class Case:
    """One model with its inputs and what ONNX says of them; arrays by their names in the graph."""

    name: str
    model: Any
    given: Mapping[str, Array]
    expected: Mapping[str, Array]

    @property
    def node(self) -> Any:
        """The node that pools or convolves: the others only reshape."""
        return next(node for node in self.model.graph.node if is_ours(node))


def is_ours(node: Any) -> bool:
    return node.op_type in {*OPERATIONS, *GLOBAL, "MaxUnpool", "Conv"}


def only_reshapes_around(nodes: Sequence[Any]) -> bool:
    """Whether a graph is one node of ours, or one between reshapes (PyTorch's 1-D average)."""
    ours = [node for node in nodes if is_ours(node)]
    rest = {node.op_type for node in nodes if not is_ours(node)}
    return len(ours) == 1 and rest <= {"Unsqueeze", "Squeeze"}


def made_cases() -> list[Any]:
    with warnings.catch_warnings():
        # Other operations' cases overflow while they are made.
        warnings.simplefilter("ignore")
        return list(collect_testcases(None))


def node_cases(made: Sequence[Any]) -> list[Case]:
    cases = []
    for case in made:
        graph = case.model.graph
        if only_reshapes_around(graph.node):
            ((inputs, outputs),) = case.data_sets
            given = dict(zip([value.name for value in graph.input], inputs, strict=True))
            expected = dict(zip([value.name for value in graph.output], outputs, strict=True))
            cases.append(Case(case.name, case.model, given, expected))
    return cases


def disk_cases() -> list[Case]:
    cases = []
    for path in sorted(DATA.glob("*/*/model.onnx")):
        model = onnx.load(path)
        graph = model.graph
        if not only_reshapes_around(graph.node):
            continue
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        (folder,) = path.parent.glob("test_data_set_*")
        fed = [value.name for value in graph.input if value.name not in weights]
        given = dict(zip(fed, tensors(folder, "input"), strict=True))
        expected = tensors(folder, "output")
        outputs = [value.name for value in graph.output]
        name = f"{path.parent.parent.name}/{path.parent.name}"
        cases.append(
            Case(name, model, {**weights, **given}, dict(zip(outputs, expected, strict=True)))
        )
    return cases


def tensors(folder: Path, kind: str) -> list[Array]:
    files = sorted(folder.glob(f"{kind}_*.pb"), key=lambda file: int(file.stem.split("_")[1]))
    return [numpy_helper.to_array(onnx.load_tensor(file)) for file in files]


MADE = made_cases()
NODE_CASES = node_cases(MADE)
DISK_CASES = disk_cases()
CASES = [*NODE_CASES, *DISK_CASES]


def attributes_of(node: Any) -> dict[str, Any]:
    return {found.name: onnx.helper.get_attribute_value(found) for found in node.attribute}


def spec_of(node: Any, head: str) -> str:
    """Translate a node's attributes: ``head`` is the operation and its size, or its weights."""
    attributes = attributes_of(node)
    parts = [head]
    for key, name in (("stride", "strides"), ("dilation", "dilations")):
        # ONNX's default stride is 1, poolcli's is the kernel.
        sizes = attributes.get(name, [1])
        parts.append(f"{key}={'x'.join(map(str, sizes))}")
    rule = attributes.get("auto_pad", b"NOTSET").decode()
    pads = attributes.get("pads", [0, 0])
    half = len(pads) // 2
    parts.append(
        {
            "SAME_UPPER": "pad=same-upper",
            "SAME_LOWER": "pad=same-lower",
            "VALID": "pad=valid",
            "NOTSET": "pad=" + "x".join(f"{pads[i]}-{pads[half + i]}" for i in range(half)),
        }[rule]
    )
    if attributes.get("ceil_mode"):
        parts.append("ceil")
    if node.op_type == "AveragePool":
        parts.append("include-pad" if attributes.get("count_include_pad") else "exclude-pad")
    if node.op_type == "LpPool":
        parts.append(f"norm={attributes.get('p', 2)}")
    return ",".join(parts)


def pooled(node: Any, x: Array) -> list[Array]:
    """Return a pooling's outputs: values, and of MaxPool the indices as ONNX counts them."""
    layout = LAYOUTS[x.ndim]
    if node.op_type in GLOBAL:
        norm = f",norm={attributes_of(node).get('p', 2)}" if "Lp" in node.op_type else ""
        return [poolcli.pool(x, f"{GLOBAL[node.op_type]}:global{norm}", layout=layout)]
    attributes = attributes_of(node)
    size = "x".join(map(str, attributes["kernel_shape"]))
    spec = spec_of(node, f"{OPERATIONS[node.op_type]}:{size}")
    if len(node.output) == 1:
        return [poolcli.pool(x, spec, layout=layout)]
    values, places = poolcli.pool_with_indices(x, spec, layout=layout)
    if attributes.get("storage_order"):
        places = np.ravel_multi_index(np.unravel_index(places, x.shape[2:]), x.shape[2:], order="F")
    return [values, places + first_of_plane(x.shape)]


def first_of_plane(shape: Sequence[int]) -> Array:
    """Where each plane begins in the whole tensor, shaped to be added to indices in a plane."""
    planes = np.arange(prod(shape[:2])) * prod(shape[2:])
    return planes.reshape(*shape[:2], *[1] * (len(shape) - 2))


def unpooled(node: Any, y: Array, places: Array, wanted: Array | None) -> Array:
    """Undo a pooling as ONNX's MaxUnpool: indices count over the tensor that it infers.

    A larger output_shape leaves the rest of the result 0.
    """
    attributes = attributes_of(node)
    kernel = attributes["kernel_shape"]
    axes = range(len(kernel))
    strides = attributes.get("strides", [1] * len(kernel))
    pads = attributes.get("pads", [0] * 2 * len(kernel))
    inferred = tuple(
        (y.shape[2 + i] - 1) * strides[i] + kernel[i] - pads[i] - pads[len(kernel) + i]
        for i in axes
    )
    shape = (*y.shape[:2], *inferred)
    result = poolcli.unpool(y, places - first_of_plane(shape), shape, layout=LAYOUTS[y.ndim])
    if wanted is None:
        return result
    return np.pad(result, [(0, int(w) - n) for w, n in zip(wanted, result.shape, strict=True)])


def convolved(node: Any, arrays: Sequence[Array], folder: Path) -> Array:
    x, weights, *bias = arrays
    np.save(folder / "weights.npy", weights)
    head = f'conv,weights="{folder / "weights.npy"}",groups={attributes_of(node).get("group", 1)}'
    if bias:
        np.save(folder / "bias.npy", bias[0])
        head += f',bias="{folder / "bias.npy"}"'
    return poolcli.pool(x, spec_of(node, head), layout=LAYOUTS[x.ndim])


def answers(case: Case, folder: Path) -> dict[str, Array]:
    """Walk the case's graph: reshapes by NumPy, everything else by poolcli."""
    values = dict(case.given)
    for node in case.model.graph.node:
        arrays = [values[name] for name in node.input]
        if node.op_type in ("Unsqueeze", "Squeeze"):
            axes = tuple(attributes_of(node)["axes"])
            reshape = np.expand_dims if node.op_type == "Unsqueeze" else np.squeeze
            found = [reshape(arrays[0], axes)]
        elif node.op_type == "Conv":
            found = [convolved(node, arrays, folder)]
        elif node.op_type == "MaxUnpool":
            found = [unpooled(node, arrays[0], arrays[1], arrays[2] if arrays[2:] else None)]
        else:
            found = pooled(node, arrays[0])
        values.update(zip(node.output, found, strict=True))
    return {name: values[name] for name in case.expected}


def tolerance(case: Case) -> tuple[float, float]:
    """Return how far float32 sums of a window may lie apart, relative and absolute.

    Two sums of n terms in any order differ by at most n·ε·Σ|terms| (Higham, "Accuracy and stability
    of numerical algorithms", 2002, chapter 4). Maxima are exact.
    """
    node = case.node
    if node.op_type in ("MaxPool", "GlobalMaxPool", "MaxUnpool"):
        return 0, 0
    if node.op_type == "Conv":
        x, weights, *bias = (case.given[name] for name in node.input)
        weight = float(np.abs(weights).reshape(len(weights), -1).sum(axis=1).max())
        sums = weight * float(np.abs(x).max()) + sum(float(np.abs(b).max()) for b in bias)
        return 0, (weights[0].size + 1) * EPS * sums
    (x,) = case.given.values()
    terms = prod(attributes_of(node).get("kernel_shape", x.shape[2:]))
    if node.op_type in ("LpPool", "GlobalLpPool"):
        # All terms are positive; powers and the root add a few units in the last place.
        return (terms + 8) * EPS, 0
    return 0, terms * EPS * float(np.abs(x).max()) + ROUNDED.get(Path(case.name).name, 0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_of_onnx_gives_onnxs_answer(case: Case, tmp_path: Path) -> None:
    relative, absolute = tolerance(case)
    for name, answer in answers(case, tmp_path).items():
        expected = case.expected[name]
        assert answer.dtype == expected.dtype
        assert answer.shape == expected.shape
        np.testing.assert_allclose(answer, expected, rtol=relative, atol=absolute)


@pytest.mark.parametrize(
    ("cases", "fewest"),
    [
        pytest.param(
            NODE_CASES,
            {
                "MaxPool": 19,
                "AveragePool": 20,
                "LpPool": 8,
                "GlobalMaxPool": 2,
                "GlobalAveragePool": 2,
                "MaxUnpool": 2,
                "Conv": 6,
            },
            id="node",
        ),
        pytest.param(DISK_CASES, {"MaxPool": 9, "AveragePool": 7, "Conv": 27}, id="disk"),
    ],
)
def test_no_case_is_lost_on_the_way(cases: list[Case], fewest: dict[str, int]) -> None:
    """Later versions of onnx may add cases; none of those known today may be missed."""
    found = Counter(case.node.op_type for case in cases)
    assert {op: min(found[op], count) for op, count in fewest.items()} == fewest
    assert len({case.name for case in cases}) == len(cases)


def test_indices_and_column_major_order_are_among_the_cases() -> None:
    orders = [
        attributes_of(case.node).get("storage_order", 0)
        for case in NODE_CASES
        if case.node.op_type == "MaxPool" and len(case.node.output) == 2
    ]
    assert sorted(orders) == [0, 1]


@pytest.mark.parametrize("name", ENLARGEMENTS)
def test_an_enlargement_of_onnx_gives_onnxs_answer(name: str) -> None:
    (case,) = (case for case in MADE if case.name == name)
    (((x, *_, scales), (expected,)),) = case.data_sets
    factors = "x".join(str(int(scale)) for scale in scales[-2:])
    answer = poolcli.pool(x, f"up:{factors},mode={ENLARGEMENTS[name]}", layout="NCHW")
    assert answer.dtype == expected.dtype
    # Two products and a sum along each of two axes.
    atol = 6 * EPS * float(np.abs(x).max()) if ENLARGEMENTS[name] == "bilinear" else 0
    np.testing.assert_allclose(answer, expected, rtol=0, atol=atol)


def test_relu_of_onnx_gives_onnxs_answer() -> None:
    (case,) = (case for case in MADE if case.name == "test_relu")
    (((x,), (expected,)),) = case.data_sets
    np.testing.assert_array_equal(poolcli.pool(x, "relu"), expected)
