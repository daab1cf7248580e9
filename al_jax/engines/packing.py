"""Leaf slots: trees of different shapes as lists of equally shaped vectors, one list per stage.

`shard_map` gives every device arrays of one shape, so a slot has the same length on every stage. A leaf that fills its
slot moves by a free reshape and is updated in place; any other uses the slot's beginning, and XLA copies it several
times a tick. Exact slots are for leaves of one size, which fill them, but stages whose leaves differ need many of them.
Ranked slots take leaves of several sizes, so few are enough. What no leaf uses holds NaN, so that reading it by mistake
cannot go unnoticed.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.types import PyTree

Slots = tuple[jax.Array, ...]
SPARE = 1.5  # what exact slots may take, in units of what the fullest stage holds


class Layout(NamedTuple):
    """Where the leaves of each stage's tree lie; hashable.

    Attributes:
      slots: type and length of each slot, the same for all stages.
      trees: the structure of each stage's tree.
      leaves: for each stage the shapes of its leaves, in the tree's own order.
      places: for each stage the slot of each leaf.
    """

    slots: tuple[jax.ShapeDtypeStruct, ...]
    trees: tuple[jax.tree_util.PyTreeDef, ...]
    leaves: tuple[tuple[jax.ShapeDtypeStruct, ...], ...]
    places: tuple[tuple[int, ...], ...]


def in_place_layout(trees: Sequence[PyTree]) -> Layout:
    """Exact slots where memory allows, for what a loop carries and updates; ranked slots otherwise."""
    layout = exact_layout(trees)
    fullest = max(bytes_of(stage) for stage in layout.leaves)
    return layout if bytes_of(layout.slots) <= SPARE * fullest else ranked_layout(trees)


def exact_layout(trees: Sequence[PyTree]) -> Layout:
    """For each type and size as many slots as the stage with the most such leaves needs: every leaf fills its slot.

    Args:
      trees: for each stage a tree of arrays or of their shapes.
    """
    leaves = _leaves(trees)
    slots, places = {}, []
    for stage in leaves:
        seen = Counter()
        place = []
        for leaf in stage:
            kind = str(leaf.dtype), leaf.size
            place.append(slots.setdefault((*kind, seen[kind]), len(slots)))
            seen[kind] += 1
        places.append(tuple(place))
    shapes = tuple(jax.ShapeDtypeStruct((size,), dtype) for dtype, size, _ in slots)
    return Layout(shapes, tuple(map(jax.tree.structure, trees)), leaves, tuple(places))


def ranked_layout(trees: Sequence[PyTree]) -> Layout:
    """As few and short slots as possible: slot j of a type is as long as the longest j-th largest leaf over stages.

    Args:
      trees: for each stage a tree of arrays or of their shapes.
    """
    leaves = _leaves(trees)
    ranked = [_by_size(stage) for stage in leaves]
    slots, places = [], [{} for _ in trees]
    for dtype in sorted({dtype for stage in ranked for dtype in stage}, key=str):
        columns = [stage.get(dtype, []) for stage in ranked]
        for rank in range(max(map(len, columns))):
            length = max(column[rank][0] for column in columns if rank < len(column))
            for place, column in zip(places, columns, strict=True):
                if rank < len(column):
                    place[column[rank][1]] = len(slots)
            slots.append(jax.ShapeDtypeStruct((length,), dtype))
    ordered = tuple(tuple(place[leaf] for leaf in range(len(place))) for place in places)
    return Layout(tuple(slots), tuple(map(jax.tree.structure, trees)), leaves, ordered)


def _leaves(trees: Sequence[PyTree]) -> tuple[tuple[jax.ShapeDtypeStruct, ...], ...]:
    return tuple(tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in jax.tree.leaves(tree)) for tree in trees)


def bytes_of(tree: PyTree) -> int:
    """Bytes of all arrays of a tree, or of their shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _by_size(leaves) -> dict[np.dtype, list[tuple[int, int]]]:
    """For each type the (size, index) of its leaves, the largest first."""
    groups = defaultdict(list)
    for index, leaf in enumerate(leaves):
        groups[np.dtype(leaf.dtype)].append((leaf.size, index))
    return {dtype: sorted(group, key=lambda leaf: (-leaf[0], leaf[1])) for dtype, group in groups.items()}


def view(layout: Layout, stage: int, slots: Sequence[jax.Array]) -> Slots:
    """The slots with the shape of the stage's leaf where it fills one, flat elsewhere; moves nothing.

    A loop that carries the leaves themselves lets XLA update them in place.
    """
    shapes = {
        place: leaf.shape
        for place, leaf in zip(layout.places[stage], layout.leaves[stage], strict=True)
        if leaf.size == layout.slots[place].shape[0]
    }
    return tuple(slot.reshape(shapes.get(place, -1)) for place, slot in enumerate(slots))


def unpack(layout: Layout, stage: int, slots: Sequence[Any]) -> PyTree:
    """The tree of one stage out of its slots or their view."""
    leaves = [
        slots[place].reshape(-1)[: leaf.size].reshape(leaf.shape)
        for place, leaf in zip(layout.places[stage], layout.leaves[stage], strict=True)
    ]
    return jax.tree.unflatten(layout.trees[stage], leaves)


def pack(layout: Layout, stage: int, tree: PyTree, into: Sequence[jax.Array] | None = None) -> Slots:
    """Puts one stage's tree into its slots or their view; what the leaves leave over is `into`'s, or NaN."""
    slots = list(empty(layout) if into is None else into)
    for place, leaf in zip(layout.places[stage], map(jnp.asarray, jax.tree.leaves(tree)), strict=True):
        slot = slots[place]
        fills = leaf.size == slot.size
        slots[place] = leaf.reshape(slot.shape) if fills else slot.at[: leaf.size].set(leaf.reshape(-1))
    return tuple(slots)


def empty(layout: Layout) -> Slots:
    """Slots that hold nothing: NaN, or the smallest integer."""
    return tuple(jnp.full(slot.shape, nothing(slot.dtype), slot.dtype) for slot in layout.slots)


def nothing(dtype: np.dtype):
    """The value that stands for no value."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return jnp.nan
    return False if dtype == np.bool_ else jnp.iinfo(dtype).min
