"""Decision trees as arrays, grown exactly and level by level inside jit.

CART (Breiman et al. 1984) on samples that stay sorted by every feature. The samples of a node are neighbours in all
these orders, so a node is named by the position where it starts, and a tree needs no more room than its batch has
samples. For the deep trees of small batches this is less work than histograms, whose bins outnumber the samples.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

BLOCK = 8


class Tree(NamedTuple):
    """A tree of regression or class rates, with room for `N` nodes in every level; the root is node 0.

    Attributes:
      feature: int32 `(depth, N)`, the feature that a node looks at.
      threshold: float32 `(depth, N)`; greater values go right.
      right: int32 `(depth, N)`, the name of the right child; the left one keeps its parent's, and a leaf names itself.
      value: float32 `(N, outputs)`, what the leaves answer.
    """

    feature: jax.Array
    threshold: jax.Array
    right: jax.Array
    value: jax.Array


def predict_tree(tree: Tree, x: jax.Array) -> jax.Array:
    """What a tree answers for `(N, features)`: `(N, outputs)`."""

    def down(node, level):
        feature, threshold, right = level
        return jnp.where(_taken(x, feature[node]) > threshold[node], right[node], node), None

    node, _ = jax.lax.scan(down, jnp.zeros(len(x), jnp.int32), (tree.feature, tree.threshold, tree.right))
    return tree.value[node]


def fit_tree(x: jax.Array, t: jax.Array, key: jax.Array, *, depth: int, order: jax.Array | None = None) -> Tree:
    """Grows a tree that splits wherever a node's targets differ, until it is `depth` deep.

    The best split leaves the least sum of squares; for targets that are one-hot codes of classes this is Gini's index.
    Of equally good ones the first in a random order of features is taken. A node is named by the position of its first
    sample, so there are as many names as samples.

    Args:
      x: float32 `(B, features)`.
      t: float32 `(B, outputs)`, all in one tree; `vmap` over targets `(B, 1)` gives a tree for each.
      key: draws the order of the features.
      depth: static, the most splits above a leaf.
      order: `jnp.argsort(x, axis=0)`, where it is known.
    """
    columns = jax.random.permutation(key, jnp.arange(x.shape[1], dtype=jnp.int32))
    order = (jnp.argsort(x, axis=0) if order is None else order).astype(jnp.int32)[:, columns]
    pure = 1e-8 * jnp.mean(jnp.square(t - t.mean(0, keepdims=True)))

    def grow(carry, _):
        # On CPU the scatter is several times faster when it finds its target ready instead of fused into it.
        order, target, node = carry
        order = _moved(order, target)
        owner = node[order[:, 0]]
        count = jnp.zeros(len(x), jnp.int32).at[node].add(1)
        centred = t - means_of(t, node, count)[node]
        spread = jnp.zeros(len(x), t.dtype).at[node].add(jnp.mean(jnp.square(centred), axis=1))
        gain, column = _best_feature(_gains(x[:, columns], centred, order, owner, count[owner]))
        place = _best_place(gain, owner)
        chosen = column[place]
        low, high = (x[order[at, chosen], columns[chosen]] for at in (place, jnp.minimum(place + 1, len(x) - 1)))
        split = (spread > pure * jnp.float32(count)) & (gain[place] >= 0)
        threshold = jnp.where(split, _between(low, high), jnp.finfo(jnp.float32).max)
        right = jnp.where(split, place + 1, _places(x))
        goes = _taken(x, columns[chosen][node]) > threshold[node]
        node = jnp.where(goes, right[node], node)
        return (order, _parted(order, goes, owner, right), node), (columns[chosen], threshold, right)

    stay = jnp.broadcast_to(_places(x)[:, None], order.shape)
    start = (order, stay, jnp.zeros(len(x), jnp.int32))
    (_, _, leaf), levels = jax.lax.scan(grow, start, length=depth)
    return Tree(*levels, means_of(t, leaf, jnp.zeros(len(x), jnp.int32).at[leaf].add(1)))


def _places(rows):
    return jnp.arange(len(rows), dtype=jnp.int32)


def _taken(x, feature):
    return jnp.take_along_axis(x, feature[:, None], axis=1)[:, 0]


def means_of(t, node, count):
    return jnp.zeros((len(count), t.shape[1]), t.dtype).at[node].add(t) / jnp.float32(jnp.maximum(count, 1))[:, None]


def _gains(x, centred, order, owner, size):
    """By how much a cut behind each position of each feature lessens its node's squares, below 0 where it cannot be."""
    position = _places(x)
    # The targets of every node sum to zero, so the sum from its start is the sum from position 0.
    sums = _running(centred[order])
    left = position - owner + 1
    # As floats: of 93,000 samples and more in a node the product of integers overflows.
    weight = jnp.float32(size) / jnp.maximum(jnp.float32(left) * jnp.float32(size - left), 1)
    column = jnp.arange(x.shape[1], dtype=jnp.int32)[None]
    # On CPU a second gather is several times faster than a shift of the first, which does not fuse.
    differ = x[order, column] < x[jnp.concatenate([order[1:], order[-1:]]), column]
    return jnp.where(differ & (left < size)[:, None], jnp.sum(sums * sums, axis=2) * weight[:, None], -1.0)


def _running(x):
    """Sums along the first axis up to each place; on CPU several times faster than `jnp.cumsum` of the whole."""
    rest = -len(x) % BLOCK
    blocks = jnp.concatenate([x, jnp.zeros((rest, *x.shape[1:]), x.dtype)]).reshape(-1, BLOCK, *x.shape[1:])
    inside = jnp.cumsum(blocks, axis=1)
    before = jnp.cumsum(inside[:, -1], axis=0) - inside[:, -1]
    return (inside + before[:, None]).reshape(-1, *x.shape[1:])[: len(x)]


def _best_feature(gains):
    """For each position the greatest gain and the first feature that has it."""
    best = gains.max(axis=1)
    columns = jnp.arange(gains.shape[1], dtype=jnp.int32)
    # On CPU two reductions are several times faster than `argmax`.
    return best, jnp.where(gains == best[:, None], columns[None], len(columns) - 1).min(axis=1)


def _best_place(gain, owner):
    """For each node the first position that has its greatest gain; any for names that no node has."""
    best = jnp.full(len(gain), -jnp.inf).at[owner].max(gain)
    position = _places(gain)
    first = jnp.where(gain == best[owner], position, len(gain) - 1)
    return jnp.full(len(gain), len(gain) - 1).at[owner].min(first)


def _between(low, high):
    middle = low / 2 + high / 2
    return jnp.where(middle < high, middle, low)  # of two neighbouring numbers the middle may be the greater


def _parted(order, goes, owner, right):
    """Where the entries of the orders go when every node's samples part, each side as sorted as before."""
    moves = goes[order]
    moved = _running(jnp.int32(goes)[order])
    # Which samples are in a node does not depend on the feature, so one column tells how many moved before it.
    first = jnp.int32(moves[:, 0])
    sooner = (jnp.cumsum(first) - first)[owner]
    position = _places(order)
    return jnp.where(moves, (right[owner] - sooner - 1)[:, None] + moved, (position + sooner)[:, None] - moved)


def _moved(order, target):
    column = jnp.arange(order.shape[1], dtype=jnp.int32)[None]
    return jnp.zeros_like(order).at[target, column].set(order, unique_indices=True, mode="promise_in_bounds")
