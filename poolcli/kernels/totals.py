"""Long windows that come in parts: what is known of one so far, and what it gives in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from poolcli.errors import RangeError
from poolcli.kernels.folding import fold, is_shifted
from poolcli.kernels.long_windows import accumulate
from poolcli.kernels.views import Array, View


@dataclass(slots=True)
class Totals:
    """What is known so far of one window: a total for every fold that its operation asks for."""

    index: int
    parts: int = 0
    totals: dict[tuple[Any, ...], Array] = field(default_factory=dict)
    times: dict[tuple[Any, ...], int] = field(default_factory=dict)
    turn: dict[tuple[Any, ...], int] = field(default_factory=dict)
    pending: Array | None = None
    first: Array | None = None


@dataclass(frozen=True, slots=True)
class RunningView(View):
    """A view of some rows of one long window; its folds go on from those of the rows before.

    An operation asks each part for the same folds; what it makes of them counts at the last. Rows
    come along the axis whose place among the others is ``cut``.
    """

    totals: Totals = field(default_factory=lambda: Totals(0))
    cut: int = 0

    @property
    def is_running(self) -> bool:
        return True

    def fold(
        self,
        combine: np.ufunc,
        identity: float,
        *,
        dtype: DTypeLike | None = None,
        out: Array | None = None,  # noqa: ARG002 - a view's signature
    ) -> Array:
        wide = self.array.dtype if dtype is None else np.dtype(dtype)
        kind = (combine, wide)
        turn = self.totals.turn[kind] = self.totals.turn.get(kind, 0) + 1
        key = (*kind, turn)
        times = self.totals.times[key] = self.totals.times.get(key, 0) + 1
        if times != self.totals.parts:
            raise RangeError("too small or too large to be added up in parts: raise --memory")
        axis = self.axes[self.cut]
        # Long windows along other axes that are folded before those along the cut.
        before = [
            place
            for place, window in enumerate(self.windows[: self.cut])
            if not is_shifted(window, combine)
        ]
        behind = [place for place in range(len(self.axes)) if place not in (*before, self.cut)]
        folded = self._folded(self.array, before, combine, identity, wide)
        shape = folded.shape
        rows = folded.reshape(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))
        total = self.totals.totals.get(key)
        if total is None and not rows.shape[1]:
            total = np.full((rows.shape[0], rows.shape[2]), identity, wide)
        assert self.alone is not None, "the step says it"  # noqa: S101
        total = accumulate(total, rows, combine, wide, alone=self.alone[self.cut])
        self.totals.totals[key] = total
        one = total.reshape(*shape[:axis], 1, *shape[axis + 1 :])
        return self._folded(one, behind, combine, identity, wide).copy()

    def _folded(
        self,
        array: Array,
        places: Sequence[int],
        combine: np.ufunc,
        identity: float,
        dtype: np.dtype[Any],
    ) -> Array:
        """Combine windows along some of the axes."""
        assert self.alone is not None, "the step says it"  # noqa: S101
        axes = [self.axes[place] for place in places]
        windows = [self.windows[place] for place in places]
        alone = [self.alone[place] for place in places]
        return fold(array, axes, windows, combine, identity, dtype=dtype, alone=alone)

    def reduce_with(self, *_: Any, **__: Any) -> Array:
        raise RangeError("too small or too large to be added up in parts: raise --memory")
