"""Max and average pooling of float32 maps: PyTorch and ONNX Runtime.

python -m benchmarks.frameworks
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

import poolcli
from benchmarks.measuring import OURS, Report, in_turn
from poolcli.blocks import processors

MAPS = ((64, 112, 112), (64, 224, 224), (256, 56, 56), (3, 2048, 2048))
SMALL = ((64, 56, 56), (256, 28, 28))
WINDOWS = ((2, 2), (3, 2), (3, 1), (5, 1), (7, 1), (8, 8), (32, 32))
LAST = ((112, 112, 3), (224, 224, 3), (2048, 2048, 3), (56, 56, 64), (224, 224, 64))
TORCH: dict[str, Callable[..., Any]] = {
    "max": torch.nn.functional.max_pool2d,
    "avg": torch.nn.functional.avg_pool2d,
}
THREADS = tuple(dict.fromkeys((1, processors())))


def torch_calls(op: str, tensor: Any, size: int, stride: int) -> dict[str, Callable[[], object]]:
    """Return PyTorch on each number of threads."""

    def call(threads: int) -> Callable[[], object]:
        def pool() -> object:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            return TORCH[op](tensor, size, stride)

        return pool

    return {f"PyTorch {threads}": call(threads) for threads in THREADS}


def onnx_calls(op: str, array: Any, size: int, stride: int) -> dict[str, Callable[[], object]]:
    """Return ONNX Runtime on each number of threads."""
    name = {"max": "MaxPool", "avg": "AveragePool"}[op]
    node = onnx.helper.make_node(
        name, ["x"], ["y"], kernel_shape=[size, size], strides=[stride, stride]
    )
    ends = [onnx.helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, None) for each in "xy"]
    graph = onnx.helper.make_graph([node], "pool", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    content = model.SerializeToString()

    def call(threads: int) -> Callable[[], object]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"x": array})

    return {f"ONNX Runtime {threads}": call(threads) for threads in THREADS}


def best(times: Mapping[str, float]) -> dict[str, float]:
    """Keep of every peer its best number of threads."""
    kept: dict[str, float] = {}
    for name, taken in times.items():
        peer = name if name == OURS else name.rpartition(" ")[0]
        kept[peer] = min(taken, kept.get(peer, taken))
    return kept


def planar(
    report: Report, group: str, shape: tuple[int, ...], op: str, window: tuple[int, int]
) -> None:
    """Measure one window over one map of planes."""
    size, stride = window
    array = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    batch = array[np.newaxis]
    calls = {
        OURS: lambda: poolcli.pool(array, f"{op}:{size},stride={stride}"),
        **torch_calls(op, torch.from_numpy(batch), size, stride),
        **onnx_calls(op, batch, size, stride),
    }
    report.add(
        group, f"{op} {size}/{stride}, {'×'.join(map(str, shape))}", best(in_turn(calls, 0.3))
    )


def main() -> None:
    """Measure everything."""
    report = Report(
        "frameworks",
        "Pooling float32 maps beside PyTorch and ONNX Runtime",
        ("torch", "onnxruntime"),
        "Through `poolcli.pool`; of each framework the better of "
        f"{' and '.join(map(str, THREADS))} threads; kernel/stride.",
    )
    for op in TORCH:
        for shape in MAPS:
            for window in WINDOWS:
                planar(report, "CHW", shape, op, window)
    for op in TORCH:
        for shape in MAPS:
            planar(report, "CHW, long windows", shape, op, (31, 1))
    for op in TORCH:
        for shape in SMALL:
            for window in WINDOWS[:-1]:
                planar(report, "CHW, small maps", shape, op, window)
    for op in TORCH:
        for shape in LAST:
            array = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
            tensor = torch.from_numpy(array.transpose(2, 0, 1)[np.newaxis])
            for size, stride in WINDOWS:
                calls = {
                    OURS: lambda: poolcli.pool(array, f"{op}:{size},stride={stride}", layout="HWC"),
                    **torch_calls(op, tensor, size, stride),
                }
                work = f"{op} {size}/{stride}, {'×'.join(map(str, shape))}"
                report.add(f"HWC, C={shape[-1]}", work, best(in_turn(calls, 0.3)))
    array = np.random.default_rng(0).standard_normal(MAPS[-1], dtype=np.float32)
    for op in TORCH:
        calls = {
            OURS: lambda: poolcli.pool(array, f"{op}:31,stride=1"),
            "its own 3/1": lambda: poolcli.pool(array, f"{op}:3,stride=1"),
        }
        report.add("long over short windows", f"{op} 31/1, 3×2048×2048", in_turn(calls, 1))
    report.finish()


if __name__ == "__main__":
    main()
