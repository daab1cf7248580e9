"""Trees whose nodes choose among random cuts, for batches too large for the sorted ones of `cart`.

Extremely randomised trees (Geurts et al. 2006), with the difference that a cut lies at the value of a random sample of
the node, not anywhere between its extremes: so only the order of a feature's values matters, as in CART.
"""

import jax
import jax.numpy as jnp

from al_jax.machines.cart import Tree, means_of


def fit_random_tree(x: jax.Array, t: jax.Array, key: jax.Array, *, depth: int, cuts: int) -> Tree:
    """Grows a tree in which every node takes the best of `cuts` random cuts, wherever one parts its samples.

    The best cut leaves the least sum of squares, as in `fit_tree`. In level `l` the right child of node `n` is
    `n + 2**l`, the left one keeps the name.

    Args:
      x: float32 `(B, features)`.
      t: float32 `(B, outputs)`, all in one tree; `vmap` over targets `(B, 1)` gives a tree for each.
      key: draws the cuts.
      depth: static, the most splits above a leaf.
      cuts: static, pairs of a feature and a sample that a node draws.
    """
    names = jnp.arange(2**depth, dtype=jnp.int32)

    def grow(carry, level):
        # `order` has the samples of a node side by side, from `first[node]` on.
        node, order, first = carry
        key_feature, key_sample = jax.random.split(jax.random.fold_in(key, level))
        count = jnp.zeros(len(names), jnp.int32).at[node].add(1)
        feature = jax.random.randint(key_feature, (len(names), cuts), 0, x.shape[1], jnp.int32)
        share = jax.random.uniform(key_sample, feature.shape, jnp.float32)
        sample = jnp.minimum(jnp.int32(share * jnp.float32(count)[:, None]), count[:, None] - 1)  # rounded down
        threshold = x[order[first[:, None] + sample], feature]
        passes = jnp.float32(jnp.take_along_axis(x, feature[node], axis=1) > threshold[node])
        gain = _gains(passes, t - means_of(t, node, count)[node], node, count)
        best = gain.argmax(axis=1)
        feature, threshold, gain = (table[names, best] for table in (feature, threshold, gain))
        split = gain > 0
        threshold = jnp.where(split, threshold, jnp.finfo(jnp.float32).max)
        right = jnp.where(split, names + 2**level, names)
        goes = jnp.take_along_axis(x, feature[node][:, None], axis=1)[:, 0] > threshold[node]
        stay = count - jnp.zeros(len(names), jnp.int32).at[node].add(jnp.int32(goes))
        order = _parted(order, goes, node, first, stay)
        first = first.at[jnp.where(split, right, len(names))].set(first + stay, mode="drop")
        return (jnp.where(goes, right[node], node), order, first), (feature, threshold, right)

    start = (jnp.zeros(len(x), jnp.int32), jnp.arange(len(x), dtype=jnp.int32), jnp.zeros(len(names), jnp.int32))
    (leaf, _, _), levels = jax.lax.scan(grow, start, jnp.arange(depth, dtype=jnp.int32))
    return Tree(*levels, means_of(t, leaf, jnp.zeros(len(names), jnp.int32).at[leaf].add(1)))


def _gains(passes, centred, node, count):
    """By how much each cut lessens its node's squares, `(nodes, cuts)`; 0 where it parts nothing."""
    moved = jnp.zeros((len(count), passes.shape[1])).at[node].add(passes)
    weighted = (passes[:, :, None] * centred[:, None, :]).reshape(len(passes), -1)
    # The targets of every node sum to zero, so the sums of its two sides differ in sign only.
    sums = jnp.zeros((len(count), weighted.shape[1])).at[node].add(weighted).reshape(*moved.shape, -1)
    samples = jnp.float32(count)[:, None]
    parts = moved * (samples - moved)
    return jnp.where(parts > 0, jnp.square(sums).sum(2) * samples / jnp.maximum(parts, 1), 0)


def _parted(order, goes, node, first, stay):
    """The order in which every node's samples part: first those that stay, then those that go, each in their order."""
    node, goes = node[order], goes[order]
    before = jnp.cumsum(jnp.int32(goes)) - jnp.int32(goes)
    gone = before - before[first[node]]
    stayed = jnp.arange(len(order), dtype=jnp.int32) - first[node] - gone
    place = first[node] + jnp.where(goes, stay[node] + gone, stayed)
    return jnp.zeros_like(order).at[place].set(order, unique_indices=True)
