"""Machines of decision trees, which are grown anew for every batch."""

import jax
import jax.numpy as jnp

from al_jax.arguments import whole
from al_jax.machines.cart import Tree, fit_tree, predict_tree
from al_jax.machines.fitting import InputRule, fitted
from al_jax.machines.random_trees import fit_random_tree
from al_jax.machines.types import Machine

DEEPEST = 16  # of trees that have room for all nodes of a level, whether samples come there or not


def tree_layer(
    width: int,
    depth: int = 11,
    *,
    feedback: InputRule | None,
    cuts: int | None = None,
    joint: bool = False,
    name: str = "trees",
) -> Machine:
    """A layer of regression trees, `(B, ...) -> (B, width)`, that every update grows anew for the batch's targets.

    It has the trees of one batch alone: `al.machines.ensemble` keeps those of several. Until the first update a fixed
    random linear map answers.

    Args:
      width: units, with a tree for each.
      depth: the most splits above a leaf.
      feedback: finds what to hand down, as `al.machines.gaussian_search` does; None: zeros, for the lowest machine
        of a network, or the upper one of `al.machines.climbed`; `chain` refuses it above what learns by feedback.
      cuts: random cuts of which every node takes the best (`fit_random_tree`); None: the best of all (`fit_tree`).
      joint: all units share one tree whose leaves are vectors, with about the work of one.
      name: what errors and metrics call it.

    Raises:
      ValueError: the width, depth or cuts make no tree; or, when it is traced, an update of trees that take the best
        of all cuts has another batch size.
    """
    return _trees(width, depth, feedback, cuts, joint, False, name)


def tree_classifier(
    classes: int, depth: int = 10, *, feedback: InputRule | None, cuts: int | None = None, name: str = "classifier"
) -> Machine:
    """A decision tree for the label, `(B, ...) -> (B, classes)`, that every update grows anew for the batch.

    It answers the rates of the classes in a leaf. Arguments and errors are those of `tree_layer`.
    """
    return _trees(classes, depth, feedback, cuts, True, True, name)


def _trees(width, depth, feedback, cuts, joint, label, name):
    whole(f"{'classes' if label else 'width'} of machine {name!r}", width)
    whole(f"depth of machine {name!r}", depth)
    if cuts is not None:
        whole(f"cuts of machine {name!r}", cuts)
    if cuts is not None and depth > DEEPEST:
        raise ValueError(
            f"machine {name!r} has room for 2**depth nodes of random cuts: at most {DEEPEST} levels, not {depth}"
        )
    number = 1 if joint else width

    def init(key, x):
        nodes = len(x) if cuts is None else 2**depth
        level = (number, depth, nodes)
        threshold, value = jnp.zeros(level, jnp.float32), jnp.zeros((number, nodes, width // number), jnp.float32)
        return Tree(jnp.zeros(level, jnp.int32), threshold, jnp.zeros(level, jnp.int32), value)

    def predict(model, x):
        return jnp.moveaxis(jax.vmap(predict_tree, (0, None))(model, x), 0, 1).reshape(len(x), width)

    def fit(model, x, t, key):
        targets, keys = t.reshape(len(t), number, -1), jax.random.split(key, number)
        if cuts is not None:
            # One after another: what the nodes of all trees draw is too much for a processor's cache.
            grow = lambda own: fit_random_tree(x, *own, depth=depth, cuts=cuts)
            return jax.lax.map(grow, (targets.swapaxes(0, 1), keys))
        if len(x) != model.value.shape[1]:
            raise ValueError(
                f"machine {name!r} was drawn for batches of {model.value.shape[1]} samples and cannot grow trees of "
                f"{len(x)}: draw it with a batch of that size"
            )
        order = jnp.argsort(x, axis=0)
        return jax.vmap(lambda t, key: fit_tree(x, t, key, depth=depth, order=order), (1, 0))(targets, keys)

    return fitted(init, predict, fit, width, label=label, feedback=feedback, name=name)
