"""Leaf slots hold trees of any shapes and types, and show what they do not hold."""

import functools
import operator
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import assert_same_bits

from al_jax.engines.packing import (
    SPARE,
    empty,
    exact_layout,
    in_place_layout,
    nothing,
    pack,
    ranked_layout,
    unpack,
    view,
)

TYPES = ("float32", "int32", "uint32", "bool", "bfloat16")
SEEDS = range(6)
LAYOUTS = (exact_layout, ranked_layout)


def random_leaf(rng):
    shape = tuple(rng.integers(0, 4, rng.integers(0, 4)))  # scalars and empty arrays among them
    values = rng.integers(0, 2**31, shape).astype(np.float64)
    return np.asarray(values % 2 if (dtype := rng.choice(TYPES)) == "bool" else values).astype(jnp.dtype(str(dtype)))


def random_trees(seed):
    """One tree for each of one to four stages; stages hold different numbers of leaves, possibly none."""
    rng = np.random.default_rng(seed)
    return [
        {
            "a": [random_leaf(rng) for _ in range(rng.integers(0, 6))],
            "b": (random_leaf(rng),) * rng.integers(0, 2),
        }
        for _ in range(rng.integers(1, 5))
    ]


def ones_of(trees):
    """The trees with every element 1, which stands for something in every type."""
    return [jax.tree.map(lambda leaf: np.ones_like(leaf), tree) for tree in trees]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("make_layout", LAYOUTS)
def test_unpack_is_the_inverse_of_pack(make_layout, seed):
    trees = random_trees(seed)
    layout = make_layout(trees)
    for stage, tree in enumerate(trees):
        slots = pack(layout, stage, tree)
        assert [(slot.shape, slot.dtype) for slot in slots] == [(slot.shape, slot.dtype) for slot in layout.slots]
        assert_same_bits(unpack(layout, stage, slots), tree)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("make_layout", LAYOUTS)
def test_what_the_leaves_leave_over_is_nothing(make_layout, seed):
    trees = ones_of(random_trees(seed))
    layout = make_layout(trees)
    for stage, tree in enumerate(trees):
        empties = [np.sum(is_nothing(slot)) for slot in pack(layout, stage, tree)]
        elements = sum(leaf.size for leaf in jax.tree.leaves(tree))
        assert sum(empties) == sum(slot.size for slot in layout.slots) - elements


def is_nothing(slot):
    value = nothing(slot.dtype)
    return np.isnan(np.asarray(slot, np.float32)) if value is jnp.nan else np.asarray(slot) == value


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("make_layout", LAYOUTS)
def test_a_view_moves_nothing_and_is_packed_into(make_layout, seed):
    trees = random_trees(seed)
    layout = make_layout(trees)
    for stage, tree in enumerate(trees):
        slots = pack(layout, stage, tree)
        seen = view(layout, stage, slots)
        assert_same_bits(tuple(map(jnp.ravel, seen)), slots)
        assert_same_bits(unpack(layout, stage, seen), tree)

        other = jax.tree.map(lambda leaf: np.zeros_like(leaf), tree)
        into = pack(layout, stage, other, into=seen)
        assert [slot.shape for slot in into] == [slot.shape for slot in seen]
        assert_same_bits(tuple(map(jnp.ravel, into)), pack(layout, stage, other))


@pytest.mark.parametrize("seed", SEEDS)
def test_ranked_slots_are_as_many_and_as_long_as_the_largest_stage_needs(seed):
    trees = random_trees(seed)
    layout = ranked_layout(trees)
    for name in TYPES:
        lengths = [slot.size for slot in layout.slots if slot.dtype == jnp.dtype(name)]
        stages = [sizes(tree, name) for tree in trees]
        assert len(lengths) == max(map(len, stages))
        # The j-th slot is as long as the longest j-th leaf of any stage, and no longer.
        padded = [stage + [0] * (len(lengths) - len(stage)) for stage in stages]
        assert lengths == np.max(padded, axis=0, initial=0).tolist()


def sizes(tree, name):
    return sorted((leaf.size for leaf in jax.tree.leaves(tree) if leaf.dtype == jnp.dtype(name)), reverse=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_leaf_fills_an_exact_slot_and_every_slot_is_needed(seed):
    trees = random_trees(seed)
    layout = exact_layout(trees)
    for leaves, places in zip(layout.leaves, layout.places, strict=True):
        slots = [layout.slots[place] for place in places]
        assert [(slot.size, slot.dtype) for slot in slots] == [(leaf.size, leaf.dtype) for leaf in leaves]
    kinds = [Counter((leaf.size, leaf.dtype) for leaf in stage) for stage in layout.leaves]
    assert Counter((slot.size, slot.dtype) for slot in layout.slots) == functools.reduce(operator.or_, kinds)


@pytest.mark.parametrize(("more", "expected"), [(0, exact_layout), (1, ranked_layout)])
def test_what_is_updated_in_place_has_exact_slots_unless_they_take_too_much_memory(more, expected):
    spare = round(100 * (SPARE - 1)) + more
    trees = [{"a": jnp.zeros(100)}, {"a": jnp.zeros(spare)}]
    assert exact_layout(trees) != ranked_layout(trees)
    assert in_place_layout(trees) == expected(trees)


def test_a_leaf_that_fills_its_slot_has_its_shape_in_the_view():
    layout = ranked_layout([{"a": jnp.zeros((2, 3))}, {"a": jnp.zeros((2, 2))}])
    assert [slot.shape for slot in view(layout, 0, empty(layout))] == [(2, 3)]
    assert [slot.shape for slot in view(layout, 1, empty(layout))] == [(6,)]


def test_nothing_is_nan_or_the_smallest_integer():
    assert np.isnan(nothing(jnp.dtype("bfloat16")))
    assert [nothing(np.dtype(name)) for name in ("int32", "uint32", "bool")] == [-(2**31), 0, False]


def test_layouts_are_equal_and_hashable_where_the_shapes_are():
    for make_layout in LAYOUTS:
        assert len({make_layout(random_trees(seed)) for seed in (3, 3, 4)}) == 2


def test_python_numbers_are_packed_as_arrays():
    layout = exact_layout([jax.eval_shape(lambda: {"x": 2.0})])
    assert unpack(layout, 0, pack(layout, 0, {"x": 2.0})) == {"x": 2.0}
