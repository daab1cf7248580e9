"""Layers without parameters whose inverse carries targets down."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.machines.types import Feedback, Machine, MachineState, PyTree, is_real

STATELESS = MachineState((), (), ())


def reversible(forward: Callable, inverse: Callable, *, name: str = "reversible") -> Machine:
    """A machine that hands down the inverse of its target.

    What `inverse` makes of a target is handed down as it is, so targets that are valid codes stay valid. A sequence of
    reversible machines is their `chain`. The delta handed down is `x - inverse(target)`, whose cancellation loses
    digits; where it should be the gradient, use `from_linen`.

    Args:
      forward: `x -> y`.
      inverse: `y -> x`, for any target that may come.
      name: what errors and metrics call it.
    """

    def run(params, fixed, x, key, train):
        return forward(x), x

    def backward(params, fixed, x, feedback, context):
        return (), Feedback.toward(x, inverse(feedback.target)), {}

    return Machine(lambda key, x: STATELESS, run, backward, _unchanged, name=name)


def _unchanged(state, residuals, gradients, context):
    return state


def back_target(function: Callable, *, name: str = "back_target") -> Machine:
    """A machine from a function that only moves elements: reshapes, transposes, takes some by their index.

    Each element of the input hears the target of its place in the output, exactly, or the mean of its places; one that
    has none keeps its value.

    Args:
      function: `x -> y`, an array to an array of real numbers.
      name: what errors and metrics call it.
    """

    def init(key, x):
        if not is_real(x):
            raise ValueError("targets pass through real numbers only")
        return STATELESS

    def forward(params, fixed, x, key, train):
        y, pull = jax.vjp(function, x)
        return y, (x, pull)

    def backward(params, fixed, residuals, feedback, context):
        x, pull = residuals
        places = pull(jnp.ones_like(feedback.delta))[0]
        among = jnp.maximum(places, 1)
        target = jnp.where(places > 0, pull(feedback.target)[0] / among, x)
        return (), Feedback(pull(feedback.delta)[0] / among, target), {}

    return Machine(init, forward, backward, _unchanged, name=name)


def reversible_sigmoid(margin: float = 1e-6) -> Machine:
    """The logistic function; targets are first brought to within `margin` of 0 and 1."""
    _check_margin(margin, 0.5)

    def inverse(y):
        y = jnp.clip(y, margin, 1 - margin)
        return jnp.log(y) - jnp.log1p(-y)

    return reversible(nn.sigmoid, inverse, name="sigmoid")


def reversible_tanh(margin: float = 1e-6) -> Machine:
    """The hyperbolic tangent; targets are first brought to within `margin` of -1 and 1."""
    _check_margin(margin, 1)
    return reversible(jnp.tanh, lambda y: jnp.arctanh(jnp.clip(y, margin - 1, 1 - margin)), name="tanh")


def reversible_softmax(margin: float = 1e-6) -> Machine:
    """The softmax over the last axis; targets go back by their logarithm, after being raised to at least `margin`."""
    _check_margin(margin, 1)
    return reversible(nn.softmax, lambda y: jnp.log(jnp.maximum(y, margin)), name="softmax")


def reversible_leaky_relu(slope: float = 0.01) -> Machine:
    """`x`, times `slope` below 0.

    Raises:
      ValueError: the slope is not above 0.
    """
    if not slope > 0:
        raise ValueError(f"a leaky relu of slope {slope} has no inverse: the slope must be above 0")
    return reversible(
        lambda x: jnp.where(x < 0, slope * x, x), lambda y: jnp.where(y < 0, y / slope, y), name="leaky_relu"
    )


def bool_to_sign() -> Machine:
    """0 and 1 to -1 and 1."""
    return reversible(_signs, _bools, name="bool_to_sign")


def sign_to_bool() -> Machine:
    """-1 and 1 to 0 and 1."""
    return reversible(_bools, _signs, name="sign_to_bool")


def _signs(x: jax.Array) -> jax.Array:
    return 2 * x.astype(jnp.float32) - 1


def _bools(x: jax.Array) -> jax.Array:
    return (x.astype(jnp.float32) + 1) / 2


def reversible_batch_norm(momentum: float = 0.9, epsilon: float = 1e-5) -> Machine:
    """Batch norm `(B, ..., features)` without scale and bias.

    Targets are taken back by the mean and variance of the forward pass, which are those of the batch while training, so
    the inverse is exact. Its state has the running ones.

    Args:
      momentum: how much of the running statistics an update keeps.
      epsilon: what is added to the variance.

    Raises:
      ValueError: `epsilon` is not above 0, so a constant feature has no inverse.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon of batch norm is {epsilon}: it must be above 0 for features that do not vary")

    def init(key, x):
        features = x.shape[-1:]
        return MachineState((), {"mean": jnp.zeros(features), "variance": jnp.ones(features)}, ())

    def forward(params, fixed, x, key, train):
        axes = tuple(range(x.ndim - 1))
        used = {"mean": x.mean(axes), "variance": x.var(axes)} if train else fixed
        mean, deviation = _spread(used, x, epsilon)
        return (x - mean) / deviation, (x, used)

    def backward(params, fixed, residuals, feedback, context):
        x, used = residuals
        mean, deviation = _spread(used, x, epsilon)
        return (), Feedback(deviation * feedback.delta, deviation * feedback.target + mean), {}

    def update(state, residuals, gradients, context):
        fixed = jax.tree.map(lambda old, new: momentum * old + (1 - momentum) * new, state.fixed, residuals[1])
        return state._replace(fixed=fixed)

    return Machine(init, forward, backward, update, name="batch_norm")


def _spread(statistics: PyTree, x: jax.Array, epsilon: float) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation in as many dimensions as `x` has."""
    shape = (1,) * (x.ndim - 1) + (-1,)
    return statistics["mean"].reshape(shape), jnp.sqrt(statistics["variance"] + epsilon).reshape(shape)


def _check_margin(margin: float, below: float) -> None:
    least = float(jnp.finfo(jnp.float32).eps)  # what 1 can be told from
    if not least <= margin < below:
        raise ValueError(f"the margin of a reversible layer is {margin}: it must be from {least:.1e} to below {below}")
