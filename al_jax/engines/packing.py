"""Leaf slots: trees of different shapes as one list of equally shaped vectors, one list a stage.

`shard_map` gives every device arrays of one shape. The leaves of each stage's tree are sorted by type and size; slot j
is as long as the longest j-th leaf over the stages. A leaf that fills its slot moves by a free reshape, others use its
beginning, and what is left over holds NaN, so that reading it by mistake cannot go unseen.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.types import PyTree

Slots = tuple[jax.Array, ...]


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


def make_layout(trees: Sequence[PyTree]) -> Layout:
    """Lays out one tree of arrays or their shapes for each stage."""
    leaves = [tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in jax.tree.leaves(tree)) for tree in trees]
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
    return Layout(tuple(slots), tuple(map(jax.tree.structure, trees)), tuple(leaves), ordered)


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
