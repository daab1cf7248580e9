"""Decision trees as arrays, grown exactly and level by level inside jit.

CART (Breiman et al. 1984) on samples that stay sorted by every feature. The samples of a node are neighbours in all
these orders, so a node is named by the position where it starts, and a tree needs no more room than its batch has
samples. For the deep trees of small batches this is less work than histograms, whose bins outnumber the samples.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from al_jax.machines.fitting import InputRule, fitted
from al_jax.machines.types import Machine

BLOCK = 8


class Tree(NamedTuple):
    """A tree of regression or class rates, for batches of `B` samples.

    In every level each of up to `B` nodes is named by the position of its first sample; the left child keeps its name.

    Attributes:
      feature: int32 `(depth, B)`, the feature that a node looks at.
      threshold: float32 `(depth, B)`; greater values go right.
      right: int32 `(depth, B)`, the name of the right child; a leaf names itself.
      value: float32 `(B, outputs)`, what the leaves answer.
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


def fit_tree(
    x: jax.Array, t: jax.Array, depth: int, key: jax.Array, *, features: float = 1.0, order: jax.Array | None = None
) -> Tree:
    """Grows a tree that splits wherever a node's targets differ, until it is `depth` deep.

    The best split leaves the least sum of squares; for targets that are one-hot codes of classes this is Gini's index.
    Of equally good ones the first in a random order of features is taken.

    Args:
      x: float32 `(B, features)`.
      t: float32 `(B, outputs)`, all in one tree; `vmap` over targets `(B, 1)` gives a tree for each.
      depth: static, the most splits above a leaf.
      key: draws which features the tree may look at, and their order.
      features: static, the share of features it may look at.
      order: `jnp.argsort(x, axis=0)`, where it is known.
    """
    number = x.shape[1]
    _, columns = jax.lax.top_k(jax.random.uniform(key, (number,)), max(1, round(features * number)))
    order = (jnp.argsort(x, axis=0) if order is None else order)[:, columns]
    pure = 1e-8 * jnp.mean(jnp.square(t - t.mean(0, keepdims=True)))

    def grow(carry, _):
        # On CPU the scatter is several times faster when it finds its target ready instead of fused into it.
        order, target, node = carry
        order = _moved(order, target)
        owner = node[order[:, 0]]
        count = jnp.zeros(len(x), jnp.int32).at[node].add(1)
        centred = t - _means(t, node, count)[node]
        spread = jnp.zeros(len(x)).at[node].add(jnp.mean(jnp.square(centred), axis=1))
        gain, column = _best_feature(_gains(x[:, columns], centred, order, owner, count[owner]))
        place = _best_place(gain, owner)
        chosen = column[place]
        low, high = (x[order[at, chosen], columns[chosen]] for at in (place, jnp.minimum(place + 1, len(x) - 1)))
        split = (spread > pure * jnp.float32(count)) & (gain[place] >= 0)
        threshold = jnp.where(split, _between(low, high), jnp.finfo(jnp.float32).max)
        right = jnp.where(split, place + 1, jnp.arange(len(x)))
        goes = _taken(x, columns[chosen][node]) > threshold[node]
        node = jnp.where(goes, right[node], node)
        return (order, _parted(order, goes, owner, right), node), (columns[chosen], threshold, right)

    stay = jnp.broadcast_to(jnp.arange(len(x))[:, None], order.shape)
    start = (order, stay, jnp.zeros(len(x), jnp.int32))
    (_, _, leaf), levels = jax.lax.scan(grow, start, length=depth)
    return Tree(*levels, _means(t, leaf, jnp.zeros(len(x), jnp.int32).at[leaf].add(1)))


def _taken(x, feature):
    return jnp.take_along_axis(x, feature[:, None], axis=1)[:, 0]


def _means(t, node, count):
    return jnp.zeros(t.shape).at[node].add(t) / jnp.float32(jnp.maximum(count, 1))[:, None]


def _gains(x, centred, order, owner, size):
    """By how much a cut behind each position of each feature lessens its node's squares, below 0 where it cannot be."""
    position = jnp.arange(len(x))
    # The targets of every node sum to zero, so the sum from its start is the sum from position 0.
    sums = _running(centred[order])
    left = position - owner + 1
    weight = jnp.float32(size) / jnp.float32(jnp.maximum(left * (size - left), 1))
    column = jnp.arange(x.shape[1])[None]
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
    columns = jnp.arange(gains.shape[1])
    # On CPU two reductions are several times faster than `argmax`.
    return best, jnp.where(gains == best[:, None], columns[None], len(columns) - 1).min(axis=1)


def _best_place(gain, owner):
    """For each node the first position that has its greatest gain; any for names that no node has."""
    best = jnp.full(len(gain), -jnp.inf).at[owner].max(gain)
    position = jnp.arange(len(gain))
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
    position = jnp.arange(len(order))
    return jnp.where(moves, (right[owner] - sooner - 1)[:, None] + moved, (position + sooner)[:, None] - moved)


def _moved(order, target):
    column = jnp.arange(order.shape[1])[None]
    return jnp.zeros_like(order).at[target, column].set(order, unique_indices=True, mode="promise_in_bounds")


def tree_layer(
    width: int,
    depth: int = 11,
    *,
    feedback: InputRule | None,
    features: float = 1.0,
    joint: bool = False,
    name: str = "trees",
) -> Machine:
    """A layer of regression trees, `(B, ...) -> (B, width)`, that every update grows anew for the batch's targets.

    The trees of one batch alone: `al.machines.ensemble` keeps those of several. Until the first update a fixed random
    linear map answers.

    Args:
      width: units, with a tree for each.
      depth: the most splits above a leaf.
      feedback: finds what to hand down, as `al.machines.gaussian_search` does; None: zeros, so it must be the lowest
        machine of a network, or the upper one of `al.machines.climbed`.
      features: the share of features that a tree may look at, drawn anew for each.
      joint: all units share one tree whose leaves are vectors, with about the work of one.
      name: what errors and metrics call it.

    Raises:
      ValueError: the width, depth or share makes no tree; or, when it is traced, an update has another batch size.
    """
    return _trees(width, depth, feedback, features, joint, False, name)


def tree_classifier(
    classes: int, depth: int = 10, *, feedback: InputRule | None, features: float = 1.0, name: str = "classifier"
) -> Machine:
    """A decision tree for the label, `(B, ...) -> (B, classes)`, that every update grows anew for the batch.

    It answers the rates of the classes in a leaf. Arguments and errors are those of `tree_layer`.
    """
    return _trees(classes, depth, feedback, features, True, True, name)


def _trees(width, depth, feedback, features, joint, label, name):
    if width < 1 or depth < 1 or not 0 < features <= 1:
        raise ValueError(
            f"machine {name!r} needs at least one output, one level and a share of features above 0 and up to 1, not "
            f"{width}, {depth} and {features:g}"
        )
    number = 1 if joint else width

    def init(key, x):
        level = (number, depth, len(x))
        threshold, value = jnp.zeros(level), jnp.zeros((number, len(x), width // number))
        return Tree(jnp.zeros(level, jnp.int32), threshold, jnp.zeros(level, jnp.int32), value)

    def predict(model, x):
        return jnp.moveaxis(jax.vmap(predict_tree, (0, None))(model, x), 0, 1).reshape(len(x), width)

    def fit(model, x, t, key):
        if len(x) != model.value.shape[1]:
            raise ValueError(
                f"machine {name!r} was drawn for batches of {model.value.shape[1]} samples and cannot grow trees of "
                f"{len(x)}: draw it with a batch of that size"
            )
        order = jnp.argsort(x, axis=0)
        grow: Callable = lambda t, key: fit_tree(x, t, depth, key, features=features, order=order)
        return jax.vmap(grow, (1, 0))(t.reshape(len(t), number, -1), jax.random.split(key, number))

    return fitted(init, predict, fit, width, label=label, feedback=feedback, name=name)
