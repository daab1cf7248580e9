"""Multiply-accumulates of a computation, counted in its jaxpr: matrix products and convolutions, nothing else."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from al_jax.chain import signal_shapes
from al_jax.components import anytime_scores
from al_jax.types import Batch, Component, Network, Signal


def macs(function: Callable, *operands: Any) -> int:
    """Multiply-accumulates of one call with arguments of these shapes; all branches count, and loops once.

    Example:
      >>> import jax.numpy as jnp
      >>> macs(lambda x, w: jnp.tanh(x @ w), jnp.ones((2, 3)), jnp.ones((3, 5)))
      30
    """
    jaxpr = jax.make_jaxpr(function)(*operands).jaxpr
    return _of_jaxpr(jaxpr, [False] * len(jaxpr.invars))[0]


def inference_macs(network: Network, batch: Batch) -> list[int]:
    """Multiply-accumulates an example for a prediction by the first k components, k = 1 … K."""
    return _by_depth(network, batch, network.predict)


def anytime_macs(network: Network, batch: Batch) -> list[int]:
    """Multiply-accumulates an example for the predictions of depth 1, 2, …, k one after another, k = 1 … K."""
    return _by_depth(network, batch, functools.partial(anytime_scores, network))


def _by_depth(network: Network, batch: Batch, predict: Callable) -> list[int]:
    variables = [own for _, own, *_ in _parts(network, batch)]
    totals = [macs(functools.partial(predict, depth=depth), variables, batch["image"]) for depth in network.depths]
    return _an_example(totals, batch)


def training_macs(network: Network, batch: Batch) -> list[int]:
    """Multiply-accumulates an example in the forward pass of each component's losses.

    Codes that are computed once a class are shared by the examples of the batch; to hand each its own is a product,
    too, and counted.
    """
    totals = []
    for part, variables, signal, key in _parts(network, batch):
        apply = jax.jit(part.apply, static_argnums=3)  # already traced, for the signals
        totals.append(macs(lambda v, s, k, apply=apply: apply(v, s, k, True), variables, signal, key))
    return _an_example(totals, batch)


def update_macs(network: Network, batch: Batch) -> list[int]:
    """Multiply-accumulates an example in an update of each component: of its losses and of their gradients.

    A product or convolution takes once more for each operand that depends on the parameters, so a layer takes thrice
    what its forward pass does, but twice where it sees what comes from below: that has no gradient.
    """
    totals = []
    for part, variables, signal, key in _parts(network, batch):
        state = dict(variables)
        params = {"params": state.pop("params", {})}

        def losses(params, state, signal, key, part=part):
            return part.apply({**params, **state}, signal, key, True)[1]

        jaxpr = jax.make_jaxpr(losses)(params, state, signal, key).jaxpr
        own = len(jax.tree.leaves(params))
        totals.append(_of_jaxpr(jaxpr, [index < own for index in range(len(jaxpr.invars))])[0])
    return _an_example(totals, batch)


def _parts(network: Network, batch: Batch) -> list[tuple[Component, Any, Signal, jax.ShapeDtypeStruct]]:
    """Every component with its variables, the signal that enters it and a key, as shapes."""
    key, (signals, _) = jax.eval_shape(lambda: jax.random.key(0)), signal_shapes(network, batch)
    pairs = zip(network.components, signals, strict=True)
    return [(part, jax.eval_shape(part.init, key, signal), signal, key) for part, signal in pairs]


def _an_example(totals: Sequence[int], batch: Batch) -> list[int]:
    return [round(total / batch["image"].shape[0]) for total in totals]


def _of_jaxpr(jaxpr, inputs: Sequence[bool]) -> tuple[int, list[bool]]:
    """Multiply-accumulates, and which outputs have a gradient; `inputs` says which inputs have.

    What has a gradient as an operand is counted once more, for that.
    """
    total, known = 0, dict(zip(jaxpr.invars, inputs, strict=True))

    def has_gradient(atom) -> bool:
        return not hasattr(atom, "val") and known.get(atom, False)  # a literal has its value

    for equation in jaxpr.eqns:
        given = [has_gradient(atom) for atom in equation.invars]
        made = [any(given) and equation.primitive.name != "stop_gradient"] * len(equation.outvars)
        total += _of_product(equation) * (1 + sum(given))
        for inner in [jaxpr for value in equation.params.values() for jaxpr in _jaxprs(value)]:
            # Operands come last; before them, a condition may have its index.
            passed = given[len(given) - len(inner.invars) :] if len(inner.invars) <= len(given) else []
            own, out = _of_jaxpr(inner, passed or [any(given)] * len(inner.invars))
            total += own
            made = out if len(out) == len(made) else made
        known.update(zip(equation.outvars, made, strict=True))
    return total, [has_gradient(atom) for atom in jaxpr.outvars]


def _of_product(equation) -> int:
    """Of a matrix product or convolution, 0 for everything else."""
    name = equation.primitive.name
    if name == "dot_general":
        left = equation.invars[0].aval.shape
        (contracted, _), _ = equation.params["dimension_numbers"]
        return math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        of_one_output = math.prod(kernel) // kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return math.prod(equation.outvars[0].aval.shape) * of_one_output
    return 0


def _jaxprs(value: Any) -> list[Any]:
    if hasattr(value, "eqns"):
        return [value]
    if hasattr(value, "jaxpr"):
        return _jaxprs(value.jaxpr)
    if isinstance(value, list | tuple):
        return [jaxpr for entry in value for jaxpr in _jaxprs(entry)]
    return []
