"""Images, label maps and medians: Pillow, scikit-image, OpenCV, SciPy and tinybrain.

python -m benchmarks.images
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import scipy.ndimage
import skimage.measure
import tinybrain
from PIL import Image, ImageFilter

import poolcli
from benchmarks.measuring import OURS, Report, in_turn

block_reduce: Any = skimage.measure.block_reduce
SIDES = ((866, 1154), (1732, 2308), (3464, 4618))


def colours(report: Report) -> None:
    """Halve photographs."""
    for height, width in SIDES:
        array = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(array)
        work = f"{height * width / 1e6:.0f} MP RGB"
        square = np.ones((2, 2), np.uint8)
        averages = {
            OURS: lambda: poolcli.pool(array, "avg:2", layout="HWC", dtype="uint8"),
            "Pillow": lambda: image.reduce(2),
            "scikit-image": lambda: block_reduce(
                array,
                (2, 2, 1),
                np.mean,
            ).astype(np.uint8),
            "OpenCV": lambda: cv2.resize(
                array,
                (width // 2, height // 2),
                interpolation=cv2.INTER_AREA,
            ),
        }
        report.add("uint8 avg 2/2", work, in_turn(averages, 1))
        maxima = {
            OURS: lambda: poolcli.pool(array, "max:2", layout="HWC"),
            "scikit-image": lambda: block_reduce(array, (2, 2, 1), np.max),
            "OpenCV": lambda: cv2.dilate(array, square)[::2, ::2],
        }
        report.add("uint8 max 2/2", work, in_turn(maxima, 1))


def labels(report: Report) -> None:
    """Halve maps of labels."""
    for dtype in ("uint8", "uint32"):
        array = np.random.default_rng(0).integers(0, 20, (2048, 2048)).astype(dtype)
        volume = np.asfortranarray(array[..., np.newaxis, np.newaxis])
        report.add(
            "labels 2/2",
            f"majority, {dtype} 2048×2048",
            in_turn(
                {
                    OURS: lambda: poolcli.pool(array, "majority:2"),
                    "tinybrain": lambda: tinybrain.downsample_segmentation(volume, (2, 2, 1)),
                }
            ),
        )
        report.add(
            "labels 2/2",
            f"avg, {dtype} 2048×2048",
            in_turn(
                {
                    OURS: lambda: poolcli.pool(array, "avg:2", dtype=dtype),
                    "tinybrain": lambda: tinybrain.downsample_with_averaging(volume, (2, 2, 1)),
                }
            ),
        )


def medians(report: Report) -> None:
    """Filter with medians and quantiles, at every pixel."""
    random = np.random.default_rng(0)
    for dtype in ("uint8", "float32"):
        array = (random.standard_normal((1024, 1024)) * 50 + 128).clip(0, 255).astype(dtype)
        for size in (3, 5):
            calls = {
                OURS: lambda: poolcli.pool(array, f"median:{size},stride=1", dtype=dtype),
                "SciPy": lambda: scipy.ndimage.median_filter(array, size),
                "OpenCV": lambda: cv2.medianBlur(array, size),
            }
            if dtype == "uint8":
                image, pillow = Image.fromarray(array), ImageFilter.MedianFilter(size)
                calls["Pillow"] = lambda: image.filter(pillow)
            report.add("median and quantile", f"median {size}/1, {dtype} 1 MP", in_turn(calls, 1))
            calls = {
                OURS: lambda: poolcli.pool(array, f"quantile:{size},stride=1,q=0.25"),
                "SciPy": lambda: scipy.ndimage.percentile_filter(array, 25, size),
            }
            report.add("median and quantile", f"quantile {size}/1, {dtype} 1 MP", in_turn(calls, 1))


def main() -> None:
    """Measure everything."""
    report = Report(
        "images",
        "Images, label maps and medians",
        ("pillow", "scikit-image", "scipy", "opencv-python-headless", "tinybrain"),
        "Through `poolcli.pool`, on as many threads as there are processors; peers as they come.",
    )
    colours(report)
    labels(report)
    medians(report)
    report.finish()


if __name__ == "__main__":
    main()
