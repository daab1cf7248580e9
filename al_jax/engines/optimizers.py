"""Optax optimizers as engines run them: one transformation a component, with a state that can be packed and saved."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from al_jax.types import Network, PyTree

Optimizer = optax.GradientTransformation | Callable[[int], optax.GradientTransformation]


def optimizers_of(network: Network, optimizer: Optimizer) -> tuple[optax.GradientTransformationExtraArgs, ...]:
    """One transformation for each component; its update also takes the objective's `value` and `grad`.

    Raises:
      ValueError: the network is none, or the optimizer is no transformation and no function that makes one.
    """
    if not isinstance(network, Network):
        raise ValueError(f"an engine takes a network, of a rule or al.compose, not a {type(network).__name__}")
    given: Any = optimizer
    if hasattr(given, "update"):
        return (_packable(given),) * len(network.components)
    if callable(given) and "learning_rate" in _parameters(given):
        name = getattr(given, "__name__", "this function")
        raise ValueError(f"{name} makes an optimizer of a learning rate: give what it returns, as optax.adam(1e-3)")
    made = [given(index) if callable(given) else given for index in range(len(network.components))]
    if other := [one for one in made if not hasattr(one, "update")]:
        raise ValueError(
            f"a {type(other[0]).__name__} is no optimizer: give an optax transformation, or a function of the "
            "component's index that makes one"
        )
    return tuple(map(_packable, made))


def _parameters(function: Callable) -> Mapping[str, Any]:
    try:
        return inspect.signature(function).parameters
    except ValueError:  # some built-in ones have none
        return {}


def _packable(optimizer: Any) -> optax.GradientTransformationExtraArgs:
    """The same transformation, its typed random keys kept as the numbers they consist of."""
    if hasattr(optimizer, "gradient_transformation"):  # optax.MultiSteps
        optimizer = optimizer.gradient_transformation()
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> PyTree:
        return _as_numbers(optimizer.init(params))

    def update(updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any):
        if any(map(_is_key, jax.tree.leaves(jax.eval_shape(optimizer.init, params)))):
            # Drawn anew for the kinds of its keys alone; the compiler drops the rest.
            state = jax.tree.map(_as_key, optimizer.init(params), state)
        updates, state = optimizer.update(updates, state, params, **extra)
        return updates, _as_numbers(state)

    return optax.GradientTransformationExtraArgs(init, update)


def _as_numbers(state: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state)


def _as_key(kind: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(kind)) if _is_key(kind) else numbers


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
