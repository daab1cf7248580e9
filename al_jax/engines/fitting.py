"""The partition of shortest tick among those whose devices fit a memory limit, padding included, found exactly.

How much of its slots a device leaves empty depends on all stages together, so the best partition is not made of best
parts, as dynamic programming would need. But slots only grow with every further block. So this is an A* search that
adds block after block from below: it continues the partial partition of shortest tick, and drops what cannot fit.
"""

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Sequence

import jax
import numpy as np

from al_jax.engines.costs import Profile
from al_jax.engines.packing import SPARE
from al_jax.types import PyTree

FULLEST, EXACT, RANKED, BOUNDARY = range(4)  # kinds of needs


def fitting_partition(
    profile: Profile, costs: Sequence[float], stages: int, room: float = math.inf
) -> tuple[int, ...] | None:
    """The partition of shortest tick, and of several the one of fewest bytes, whose slots take at most `room` bytes.

    Args:
      profile: of the network.
      costs: of each component, in any unit.
      stages: how many blocks to make, at most as many as components.
      room: bytes of a device for slots: of what it holds, and of signals and messages that come in and go out.

    Returns:
      The sizes of blocks, or None where nothing fits.
    """
    number = len(costs)
    needs, kinds = _needs(profile)
    ticks = np.array([[math.fsum(costs[start:end]) for end in range(number + 1)] for start in range(number)])
    # What the components from some point on take at least in so many blocks: each number by itself, so too little.
    least_ticks, least_needs = _least(ticks[..., None], stages)[..., 0], _least(needs, stages)
    waiting: list[tuple[float, float, int, tuple[int, ...]]] = [(0.0, 0.0, stages, (0,))]
    seen = set()
    while waiting:
        tick, _, left, cuts = heapq.heappop(waiting)
        if not left:
            return tuple(end - start for start, end in itertools.pairwise(cuts))
        start, left = cuts[-1], left - 1
        need = needs[list(cuts[:-1]), list(cuts[1:])].max(axis=0, initial=0)
        if (state := (start, left, need.tobytes())) in seen:
            continue  # the same blocks are possible above, and the other's tick was no longer
        seen.add(state)
        ends = np.arange(start + 1, number - left + 1) if left else np.array([number])
        found = np.maximum(need, needs[start, ends])
        slots = _bytes(np.maximum(found, least_needs[left, ends]) @ kinds, whole=not left)
        slowest = np.maximum(ticks[start, ends], least_ticks[left, ends]).clip(tick)
        for index in np.flatnonzero(slots <= room):
            entry = float(slowest[index]), float(slots[index]), left, (*cuts, int(ends[index]))
            heapq.heappush(waiting, entry)
    return None


def _bytes(sums: np.ndarray, whole: bool) -> np.ndarray:
    """Bytes of slots by the sums of each kind; of a `whole` partition as `in_place_layout` makes them, else at least.

    Ranked slots are never longer than exact ones.
    """
    exact = whole & (sums[:, EXACT] <= SPARE * sums[:, FULLEST])
    return np.where(exact, sums[:, EXACT], sums[:, RANKED]) + sums[:, BOUNDARY]


def _least(needs: np.ndarray, stages: int) -> np.ndarray:
    """The least that the fullest block can need, `[blocks, start]` for so many blocks from `start` to the top.

    Of `needs` `(start, end, columns)`, each column by itself; infinite where there cannot be so many blocks.
    """
    number = len(needs)
    least = np.full((stages, number + 1, needs.shape[-1]), np.inf)
    least[0, number] = 0
    for blocks in range(1, stages):
        for start in range(number):
            least[blocks, start] = np.maximum(needs[start, start + 1 :], least[blocks - 1, start + 1 :]).min(0)
    return least


def _needs(profile: Profile) -> tuple[np.ndarray, np.ndarray]:
    """Bytes that every block `(start, end)` needs of each slot, and of which kind each is.

    A whole partition needs of each the most that any of its blocks does.

    Returns:
      `(K, K + 1, columns)`, of which only those with start < end count, and how many slots of each kind a column stands
      for, `(columns, kinds)`.
    """
    number = len(profile.held)
    spans = np.array(list(itertools.combinations(range(number + 1), 2)))
    start, end = spans.T
    sizes, types, counts = _leaves(profile.held)
    total = np.concatenate([np.zeros_like(counts[:1]), counts.cumsum(0)])
    held = total[end] - total[start]
    ranked = _ranked(sizes, types, held)
    coming = [_leaves([(), *profile.entering[1:]]), _leaves(profile.told)]
    boundary = [2 * _ranked(sizes, types, counts[start]) for sizes, types, counts in coming]  # they come and go
    groups = {FULLEST: (held @ sizes)[:, None], EXACT: held * sizes, RANKED: ranked, BOUNDARY: np.hstack(boundary)}
    columns = np.hstack([*groups.values()])
    kind = np.repeat(list(groups), [own.shape[1] for own in groups.values()])
    # An optimizer's moments have the sizes of its parameters, so that many columns are equal.
    distinct, which = np.unique(columns, axis=1, return_inverse=True)
    kinds = np.zeros((distinct.shape[1], len(groups)))
    np.add.at(kinds, (which.reshape(-1), kind), 1)
    needs = np.zeros((number, number + 1, distinct.shape[1]))
    needs[start, end] = distinct
    return needs, kinds


def _leaves(trees: Sequence[PyTree]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bytes and type of each sort of leaf, the largest of a type first, and how many of it each tree has."""
    found = [Counter((str(x.dtype), x.size * x.dtype.itemsize) for x in jax.tree.leaves(tree)) for tree in trees]
    sorts = sorted(set().union(*found), key=lambda sort: (sort[0], -sort[1]))
    counts = np.array([[own[sort] for sort in sorts] for own in found], int).reshape(len(found), len(sorts))
    return np.array([size for _, size in sorts], int), np.array([dtype for dtype, _ in sorts], str), counts


def _ranked(sizes: np.ndarray, types: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """For each row of counts the bytes of its leaves, by type and falling: what it needs of each ranked slot."""
    found = [np.zeros((len(counts), 0))]
    for dtype in np.unique(types):
        own = types == dtype
        rows = np.zeros((len(counts), counts[:, own].sum(1).max()))
        for row, count in zip(rows, counts[:, own], strict=True):
            row[: count.sum()] = np.repeat(sizes[own], count)
        found.append(rows)
    return np.hstack(found)
