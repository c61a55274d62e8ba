"""Pictures worked on as light: decoded before the chain, encoded after every saved stage.

The plan that is shown stays that of the stored picture; the engine runs one for float64.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

from poolcli import memory
from poolcli.blocks import processors
from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import InputError, PlanError
from poolcli.maps import Header
from poolcli.plan import Plan, plan_chain
from poolcli.stages import Chain

if TYPE_CHECKING:
    from poolcli.engine import Result
    from poolcli.kernels.casts import Losses
    from poolcli.kernels.light import Light
    from poolcli.kernels.views import Array

_WHITES: Final = {"uint8": 255, "uint16": 65535}
_WITH_ALPHA: Final = (2, 4)
_BLOCK: Final = 1 << 14
"""Pixels encoded at once."""
_WORKED_IN: Final = 64
"""Bytes for each number of a block while it is encoded, as measured."""


@dataclass(frozen=True, slots=True)
class Lighting:
    """How one picture is worked on as light: what its numbers stand for, and the plan for them."""

    light: Light
    plan: Plan

    @property
    def words(self) -> tuple[str, ...]:
        """The options that change values."""
        said = {"--linear": self.light.linear, "--premultiply": self.light.premultiply}
        return tuple(word for word, given in said.items() if given)

    @property
    def aside(self) -> int:
        """Bytes in which the blocks of all threads are decoded and encoded."""
        channels = self.plan.shape[-1] if self.light.alpha else 1
        most = max((step.elements for step in self.plan.steps), default=0)
        numbers = max(prod(self.plan.shape), most)
        return _WORKED_IN * min(numbers, processors() * _BLOCK * channels)

    def needed(self, shown: Plan, saved: Collection[int]) -> int:
        """Return how many bytes it takes, the stored picture and the largest result among them."""
        stored = prod(shown.shape) * ITEM_SIZES[shown.dtype]
        kept = max((step.bytes for step in shown.steps if step.index in saved), default=0)
        return memory.needed_at_once(self.plan, saved) + stored + kept

    def run(
        self,
        shown: Plan,
        array: Array,
        *,
        saved: Collection[int] | None = None,
        counted: bool = True,
        threads: int | None = None,
    ) -> Iterator[Result]:
        """Yield each step of the shown plan with its result as it is saved.

        As :func:`poolcli.engine.run` does; what was rounded is counted whether asked for or not.
        """
        from poolcli import engine
        from poolcli.kernels.casts import Losses

        del counted
        light = self.decoded(array, threads)
        running = engine.run(self.plan, light, saved=saved, counted=False, threads=threads)
        # Nothing is held here that the engine is done with.
        del array, light
        for step, result in zip(shown.steps, running, strict=True):
            if result.array is None:
                yield engine.Result(step, None, Losses())
            else:
                yield engine.Result(step, *self.stored(result.array, step.dtype, threads))

    def decoded(self, array: Array, threads: int | None) -> Array:
        """Return the light that a stored picture, or part of one, stands for."""
        import numpy as np

        light = np.empty(array.shape)
        pixels, lights = self._pixels(array), self._pixels(light)

        def decode(part: slice) -> None:
            lights[part] = self.light.decode(pixels[part])

        _in_blocks(decode, len(pixels), threads)
        return light

    def stored(self, array: Array, dtype: str, threads: int | None) -> tuple[Array, Losses]:
        """Return a result, or part of one, as it is saved, and what the cast lost."""
        import numpy as np

        from poolcli.kernels.casts import Losses, cast

        result = np.empty(array.shape, dtype)
        pixels, stored = self._pixels(array), self._pixels(result)
        losses: list[Losses] = []

        def encode(part: slice) -> None:
            stored[part], lost = cast(self.light.encode(pixels[part]), dtype)
            losses.append(lost)

        _in_blocks(encode, len(pixels), threads)
        return result, sum(losses, Losses())

    def _pixels(self, array: Array) -> Array:
        """Return an array's pixels one after the other, with alpha beside their colours."""
        return array.reshape(-1, array.shape[-1]) if self.light.alpha else array.reshape(-1)


def _in_blocks(do: Callable[[slice], None], count: int, threads: int | None) -> None:
    """Do something with all pixels, on threads, so many at once that they stay in the cache."""
    from poolcli.threads import on_threads

    parts = [slice(start, start + _BLOCK) for start in range(0, count, _BLOCK)]
    on_threads(do, parts, threads)


def lighting(chain: Chain, header: Header, *, linear: bool, premultiply: bool) -> Lighting | None:
    """Return how to work on a picture as light; None if that changes nothing.

    Raises
    ------
    InputError
        If it is no picture, or one whose numbers have no such meaning.
    PlanError
        If a stage mixes colours with alpha.
    """
    if not (linear or premultiply):
        return None
    asked = " and ".join(
        word for word, given in (("--linear", linear), ("--premultiply", premultiply)) if given
    )
    if not header.is_image:
        raise InputError(f"{asked}: an array has no alpha and no light curve, only pictures have")
    white = _WHITES.get(header.dtype)
    if white is None:
        raise InputError(f"{asked}: for pictures of 8 and 16 bits, this one is {header.dtype}")
    alpha = header.layout.endswith("C") and header.shape[-1] in _WITH_ALPHA
    for index, stage in enumerate(chain, start=1):
        if alpha and (stage.over_channels or stage.mixes_channels):
            raise PlanError(
                f"stage {index} ({stage}): it mixes colours with alpha, which {asked} takes apart: "
                "give a picture without alpha"
            )
    if not linear and not alpha:
        return None
    from poolcli.kernels.light import Light

    light = Light(linear, premultiply and alpha, white, alpha)
    plan = plan_chain(chain, header.shape, layout=header.layout, dtype="float64")
    return Lighting(light, plan)
