"""What can be known of a chain of components without computing it: shapes and parameter counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from al_jax.arguments import reason
from al_jax.components import groups_of
from al_jax.types import Batch, Component, Network, PyTree, Signal


def signal_shapes(network: Network, batch: Batch) -> tuple[tuple[Signal, ...], tuple[Any, ...]]:
    """Follows one micro-batch up the chain without computing it.

    Returns:
      The shapes of the signal that enters each component, and `(signal_up, losses, model_state)` of each.

    Raises:
      ValueError: a component does not take the signal of the one below; the message names it.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    signal = jax.tree.map(_shape, dict(batch))
    entering, leaving = [], []
    for index, part in enumerate(network.components):
        try:
            variables = jax.eval_shape(part.init, key, signal)
            # As a static argument `train` needs no function of its own, and JAX remembers what it has traced.
            outputs = jax.jit(part.apply, static_argnums=3).eval_shape(variables, signal, key, True)
            if any(leaf.size == 0 for leaf in jax.tree.leaves(outputs[0])):  # from images too small for a convolution
                raise ValueError("nothing is left of it")
        except Exception as error:
            shapes = jax.tree.map(lambda x: f"{x.dtype.name}{list(x.shape)}", signal)
            raise ValueError(
                f"component {index + 1} of {len(network.components)} ({part.name}) cannot take the signal {shapes}: "
                f"{reason(error)}"
            ) from error
        if not isinstance(outputs[1], Mapping):
            raise ValueError(f"component {index + 1} ({part.name}): its losses are not a dict of named scalars")
        if bad := [name for name, loss in outputs[1].items() if not _is_real_scalar(loss)]:
            raise ValueError(f"component {index + 1} ({part.name}): its loss {bad[0]!r} is not a scalar of a real type")
        before = {name: tree for name, tree in variables.items() if name != "params"}
        if changed := _types(before) ^ _types(dict(outputs[2])):
            raise ValueError(
                f"component {index + 1} ({part.name}): training changes the shape or type of its model state "
                f"{min(changed)[0]}; keep what it sows out of it, and float64 images out of float32 networks"
            )
        _check_labels(f"component {index + 1} ({part.name})", part, variables.get("params", {}))
        entering.append(signal)
        leaving.append(outputs)
        signal = outputs[0]
    return tuple(entering), tuple(leaving)


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    """With the type that JAX gives to NumPy's 64-bit ones."""
    return jax.ShapeDtypeStruct(x.shape, jax.dtypes.canonicalize_dtype(x.dtype, allow_extended_dtype=True))


def check_cuttable(network: Network, signals: Sequence[Signal]) -> None:
    """Refuses to cut a micro-batch into slices where a signal has leaves that are not one row an example.

    Args:
      network: the network.
      signals: the shapes that enter its components, the first of them the micro-batch.

    Raises:
      ValueError: with the component that hands up such a leaf.
    """
    size = jax.tree.leaves(signals[0])[0].shape[0]
    for index, signal in enumerate(signals[1:]):
        if odd := [leaf for leaf in jax.tree.leaves(signal) if leaf.shape[:1] != (size,)]:
            raise ValueError(
                f"component {index + 1} ({network.components[index].name}) hands up an array {list(odd[0].shape)}, not "
                f"one row for each of the {size} examples: shards cannot cut it, use shards=1"
            )


def _is_real_scalar(loss: Any) -> bool:
    """Whether it is the shape of a single number, all of which is left in float32."""
    return getattr(loss, "shape", None) == () and not jnp.issubdtype(loss.dtype, jnp.complexfloating)


def _types(tree: PyTree) -> set[tuple[str, tuple[int, ...], str]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {(jax.tree_util.keystr(path), leaf.shape, leaf.dtype.name) for path, leaf in leaves}


def _check_labels(name: str, part: Component, params: PyTree) -> None:
    try:
        jax.tree.map(lambda _label, _group: None, groups_of(part.labels, params), params)
    except ValueError:
        raise ValueError(
            f"{name}: labels must name a group for each of its parameters, {', '.join(sorted(params))}, and names "
            f"{part.labels}"
        ) from None
    if missing := [group for group in jax.tree.leaves(part.labels) if group not in part.rates]:
        raise ValueError(f"{name}: labels names the group {missing[0]!r}, for which rates has no factor")


def parameter_counts(network: Network, params: Sequence[PyTree]) -> tuple[int, int]:
    """The number of parameters of all components, and of those that inference uses."""

    def count(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    used = [
        jax.tree.map(lambda uses, tree: count(tree) if uses else 0, groups_of(uses, own), own)
        for uses, own in zip(network.effective, params, strict=True)
    ]
    return count(params), sum(jax.tree.leaves(used))
