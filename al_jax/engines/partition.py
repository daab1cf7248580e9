"""Contiguous blocks of components, one for each stage of a pipeline: even ones, or the best for known costs.

Devices move in step, so only the most expensive block matters: a tick takes as long as it does.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

BlockCost = Callable[[int, int], float]  # of the components from `start` to before `end`, counted from 0


Span = tuple[int, int]


class _Best(NamedTuple):
    """The best cut of the components above some point: what it is worth, less is better, and its blocks."""

    worth: Any
    sizes: tuple[int, ...]


def even_partition(components: int, stages: int) -> tuple[int, ...]:
    """Sizes of contiguous blocks that differ by at most one, the larger ones first."""
    return tuple(components // stages + (stage < components % stages) for stage in range(stages))


def blocks_of(parts: Sequence, sizes: Sequence[int]) -> list[tuple]:
    """Cuts one entry for each component into contiguous blocks, one for each stage."""
    remaining = iter(parts)
    return [tuple(itertools.islice(remaining, size)) for size in sizes]


def best_partition(
    costs: Sequence[float],
    stages: int,
    *,
    memory: BlockCost | None = None,
    sent: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Sizes of the contiguous blocks whose most expensive one is as cheap as possible, found exactly.

    Among partitions of equal tick it is the one whose fullest device holds least, then the one that sends least from
    stage to stage, then the one of most equal sizes, then the one whose lower blocks are larger.

    Args:
      costs: of each component, in any unit.
      stages: how many blocks to make.
      memory: bytes of a device that has the components from `start` to before `end`; the more of them, the more.
      sent: bytes that each component hands up to the next.

    Raises:
      ValueError: there are more stages than components.

    Example:
      >>> best_partition([9, 1, 1, 5, 4], 3)
      (1, 2, 2)
    """
    number = len(costs)
    if not 1 <= stages <= number:
        raise ValueError(f"{stages} stages for {number} components: use at most one stage a component")
    spans = list(itertools.combinations(range(number + 1), 2))
    # One bottleneck after another, since what is best by both at once is not made of parts that are.
    block = {span: math.fsum(costs[slice(*span)]) for span in spans}
    tick = _largest(_best(number, stages, block, max, 0))
    held = {span: memory(*span) if memory else 0 for span in spans if block[span] <= tick}
    fullest = _largest(_best(number, stages, held, max, 0))
    leaving = [0, *(sent or [0] * number)[: number - 1], 0]  # by the end of a block; the top one hands nothing on
    rest = {span: (leaving[span[1]], (span[1] - span[0]) ** 2) for span in held if held[span] <= fullest}
    best = _best(number, stages, rest, _add, (0, 0))
    assert best is not None
    return best.sizes


def _best(
    number: int, stages: int, worth: Mapping[Span, Any], together: Callable[[Any, Any], Any], nothing: Any
) -> _Best | None:
    """The cut into blocks that `worth` has, of least worth together; of several, that of larger lower blocks."""
    best = {number: _Best(nothing, ())}  # by the component with which it begins
    for _ in range(stages):
        cuts: dict[int, list[_Best]] = {}
        for (start, end), own in worth.items():
            if end in best:
                above = best[end]
                cuts.setdefault(start, []).append(_Best(together(own, above.worth), (end - start, *above.sizes)))
        best = {start: min(found, key=_rank) for start, found in cuts.items()}
    return best.get(0)


def _rank(cut: _Best) -> tuple[Any, list[int]]:
    return cut.worth, [-size for size in cut.sizes]


def _largest(best: _Best | None) -> float:
    return math.inf if best is None else best.worth


def _add(left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    return left[0] + right[0], left[1] + right[1]
