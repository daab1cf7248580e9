"""Multiply-accumulates of a computation, counted in its jaxpr: matrix products and convolutions, nothing else."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from al_jax.chain import signal_shapes
from al_jax.components import anytime_scores
from al_jax.types import Batch, Network


def macs(function: Callable, *operands: Any) -> int:
    """Multiply-accumulates of one call with arguments of these shapes; all branches count, and loops once.

    Example:
      >>> import jax.numpy as jnp
      >>> macs(lambda x, w: jnp.tanh(x @ w), jnp.ones((2, 3)), jnp.ones((3, 5)))
      30
    """
    return _of_jaxpr(jax.make_jaxpr(function)(*operands).jaxpr)


def inference_macs(network: Network, batch: Batch) -> list[int]:
    """Multiply-accumulates an example for a prediction by the first k components, k = 1 … K."""
    variables = variable_shapes(network, batch)
    images = batch["image"]
    totals = [macs(lambda v, x, k=depth: network.predict(v, x, depth=k), variables, images) for depth in network.depths]
    return [round(total / images.shape[0]) for total in totals]


def anytime_macs(network: Network, batch: Batch) -> list[int]:
    """Multiply-accumulates an example for the predictions of depth 1, 2, …, k one after another, k = 1 … K."""
    variables, images = variable_shapes(network, batch), batch["image"]
    totals = [
        macs(lambda v, x, k=depth: anytime_scores(network, v, x, k), variables, images) for depth in network.depths
    ]
    return [round(total / images.shape[0]) for total in totals]


def training_macs(network: Network, batch: Batch) -> list[int]:
    """Multiply-accumulates an example in the forward pass of each component's losses; its update takes about thrice.

    Codes that are computed once a class are shared by the examples of the batch.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    signals, _ = signal_shapes(network, batch)
    totals = [
        macs(lambda v, s, k, part=part: part.apply(v, s, k, True), jax.eval_shape(part.init, key, signal), signal, key)
        for part, signal in zip(network.components, signals, strict=True)
    ]
    return [round(total / batch["image"].shape[0]) for total in totals]


def variable_shapes(network: Network, batch: Batch) -> Sequence[Any]:
    """The variables of every component as shapes."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    signals, _ = signal_shapes(network, batch)
    return [jax.eval_shape(part.init, key, signal) for part, signal in zip(network.components, signals, strict=True)]


def _of_jaxpr(jaxpr) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation) -> int:
    name = equation.primitive.name
    if name == "dot_general":
        left = equation.invars[0].aval.shape
        (contracted, _), _ = equation.params["dimension_numbers"]
        return math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        of_one_output = math.prod(kernel) // kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return math.prod(equation.outvars[0].aval.shape) * of_one_output
    inner = [_jaxprs(value) for value in equation.params.values()]
    return sum(_of_jaxpr(jaxpr) for found in inner for jaxpr in found)


def _jaxprs(value: Any) -> list[Any]:
    if hasattr(value, "eqns"):
        return [value]
    if hasattr(value, "jaxpr"):
        return _jaxprs(value.jaxpr)
    if isinstance(value, list | tuple):
        return [jaxpr for entry in value for jaxpr in _jaxprs(entry)]
    return []
