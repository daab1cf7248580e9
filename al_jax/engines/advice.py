"""The one change to a pipeline that would gain most, in a sentence."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from al_jax.engines.forecast import efficiency_of, tick_of
from al_jax.engines.partition import best_partition, blocks_of

GAIN = 1.02  # what a shorter tick must bring to be worth a change


class Cut(NamedTuple):
    """The component, from 0, that is cut into two halves; with both in its place, all costs and their partition."""

    component: int
    costs: tuple[float, ...]
    sizes: tuple[int, ...]


def best_change(
    costs: Sequence[float], sizes: Sequence[int], unlimited: Sequence[int], unit: Callable[[float], str]
) -> str:
    """Says what limits the tick, and what would shorten it most.

    Args:
      costs: of each component, in any unit.
      sizes: the partition that is planned.
      unlimited: the best one without any limit of memory.
      unit: writes a cost for people.
    """
    stages, tick, now = len(sizes), tick_of(costs, sizes), efficiency_of(costs, sizes)
    if tick_of(costs, unlimited) * GAIN < tick:
        return (
            f"The partition {_sizes(unlimited)} instead of {_sizes(sizes)} would shorten the tick from {unit(tick)} "
            f"to {unit(tick_of(costs, unlimited))}: efficiency {efficiency_of(costs, unlimited):.0%}, not {now:.0%}."
        )
    stage = max(range(stages), key=lambda index: sum(blocks_of(costs, sizes)[index]))
    first, last = sum(sizes[:stage]) + 1, sum(sizes[: stage + 1])
    limit = f"Component {first} alone takes" if first == last else f"Components {first} to {last} take"
    cut = best_cut(costs, stages)
    after = tick_of(cut.costs, cut.sizes)
    if after * GAIN < tick:
        return (
            f"{limit} the whole tick of {unit(tick)}: component {cut.component + 1} cut into two equal ones, which "
            f"then learn apart, would shorten it to {unit(after)}, efficiency "
            f"{efficiency_of(cut.costs, cut.sizes):.0%} instead of {now:.0%}{_with_fewer(costs, stages, unit)}."
        )
    return (
        f"{limit} the whole tick, and cutting one component in two would shorten it by less than "
        f"{GAIN - 1:.0%}{_with_fewer(costs, stages, unit)}."
    )


def best_cut(costs: Sequence[float], stages: int) -> Cut:
    """The component whose cut into two equal halves gives the shortest tick; of several the lowest."""
    cuts = []
    for component, cost in enumerate(costs):
        halved = (*costs[:component], cost / 2, cost / 2, *costs[component + 1 :])
        cuts.append(Cut(component, halved, best_partition(halved, stages)))
    return min(cuts, key=lambda cut: tick_of(cut.costs, cut.sizes))


def _with_fewer(costs: Sequence[float], stages: int, unit: Callable[[float], str]) -> str:
    """What a stage less would do, unless that leaves no pipeline."""
    if stages <= 2:
        return ""
    sizes = best_partition(costs, stages - 1)
    tick, efficiency = tick_of(costs, sizes), efficiency_of(costs, sizes)
    return f"; on {stages - 1} stages the tick would be {unit(tick)}, efficiency {efficiency:.0%}"


def _sizes(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))
