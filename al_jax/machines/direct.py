"""Layers that hear the network's error or the label directly, and nothing from above."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from al_jax.arguments import whole
from al_jax.losses import cross_entropy
from al_jax.machines.linen import ADAM, from_linen
from al_jax.machines.types import Context, Feedback, Machine, MachineState, PyTree


class Residuals(NamedTuple):
    """What a forward pass leaves: its output, and what the module's own machine needs."""

    y: jax.Array
    own: PyTree


def direct_feedback_alignment(
    module: nn.Module,
    optimizer: optax.GradientTransformation = ADAM,
    *,
    classes: int,
    name: str | None = None,
) -> Machine:
    """Makes a machine from a Linen module that learns by a fixed random projection of the network's error.

    The cotangent at its output `(B, *features)` is `error @ matrix`, with the gradient of the loss at the network's
    output, `(B, classes)`, and `fixed["feedback"]["matrix"]`, `(classes, *features)`, of variance `1 / classes`; the
    module's own activation and weights are differentiated exactly (Nøkland 2016, DFA). What lies above matters only
    through the error. The output layer itself hears the error as it is: make it with `from_linen`.

    It hands down a delta of zero: no error passes such a layer, so machines below must hear the error or the label
    themselves; one that relies on feedback from above would not move, and `chain` refuses it.

    Args:
      module: `x -> y` or `(x, train) -> y`, an array with a leading batch; a module of several layers passes errors
        through its own weights.
      optimizer: of its parameters; Adam at 1e-3 by default.
      classes: scores in the network's output.
      name: what errors and metrics call it.

    Raises:
      ValueError: no positive number of classes; from `backward`, the error has another number of them.
    """

    def draw(key, features):
        drawn = nn.initializers.lecun_normal()(key, (classes, math.prod(features)), jnp.float32)
        return drawn.reshape(classes, *features)

    def delta_of(matrix, y, context):
        return jnp.tensordot(context.error.astype(matrix.dtype), matrix, 1), {}

    return _direct(module, optimizer, classes, "feedback", draw, delta_of, "error", name)


def local_classifier(
    module: nn.Module,
    optimizer: optax.GradientTransformation = ADAM,
    *,
    classes: int,
    loss: Callable[[jax.Array, jax.Array], jax.Array] = cross_entropy,
    name: str | None = None,
) -> Machine:
    """Makes a machine from a Linen module that learns by the loss of a fixed random classifier of its output.

    The cotangent at its output `(B, *features)` is the gradient of `loss(y @ matrix, label)`, with
    `fixed["classifier"]["matrix"]`, `(*features, classes)`, of variance one over the number of features, and the rest
    differentiated exactly (Mostafa et al. 2018; what Zenkai calls direct feedback alignment). Nothing else of the
    network counts, and it hands down a delta of zero, as `direct_feedback_alignment` does. Metric `local_loss` is
    that loss.

    Args:
      module: `x -> y` or `(x, train) -> y`, an array with a leading batch.
      optimizer: of its parameters; Adam at 1e-3 by default.
      classes: their number.
      loss: `((B, classes) scores, label) -> scalar`, a mean over the batch.
      name: what errors and metrics call it.

    Raises:
      ValueError: no positive number of classes; from `backward`, the network has another number of them.
    """

    def draw(key, features):
        drawn = nn.initializers.lecun_normal()(key, (math.prod(features), classes), jnp.float32)
        return drawn.reshape(*features, classes)

    def delta_of(matrix, y, context):
        def of_output(y):
            return loss(jnp.tensordot(y.astype(matrix.dtype), matrix, y.ndim - 1), context.label)

        value, delta = jax.value_and_grad(of_output)(y)
        return delta, {"local_loss": value}

    return _direct(module, optimizer, classes, "classifier", draw, delta_of, "label", name)


def _direct(
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    classes: int,
    collection: str,
    draw: Callable[[jax.Array, tuple[int, ...]], jax.Array],
    delta_of: Callable[[jax.Array, jax.Array, Context], tuple[jax.Array, dict[str, Any]]],
    need: str,
    name: str | None,
) -> Machine:
    """A machine whose output's cotangent is `delta_of(matrix, y, context)`, for a matrix that `draw` drew once."""
    name = name or type(module).__name__
    whole(f"classes of machine {name!r}", classes)
    base = from_linen(module, optimizer, name=name)

    def init(key, x):
        state = base.init(key, x)
        y = jax.eval_shape(lambda s, x, k: base.forward(s.params, s.fixed, x, k, True)[0], state, x, key)
        matrix = draw(jax.random.fold_in(key, 1), y.shape[1:])
        return MachineState(state.params, {**state.fixed, collection: {"matrix": matrix}}, state.opt_state)

    def forward(params, fixed, x, key, train):
        y, residuals = base.forward(params, fixed, x, key, train)
        return y, Residuals(y, residuals)

    def backward(params, fixed, residuals, feedback, context):
        if context.error is not None and context.error.shape[1:] != (classes,):
            raise ValueError(
                f"machine {name!r} was built for {classes} classes, but the network's error is {context.error.shape}: "
                f"give it classes={context.error.shape[-1]}"
            )
        delta, metrics = delta_of(fixed[collection]["matrix"], residuals.y, context)
        direct = Feedback.along(residuals.y, delta.astype(residuals.y.dtype))
        gradients, below, _ = base.backward(params, fixed, residuals.own, direct, context)
        return gradients, Feedback.along(residuals.own.x, jax.tree.map(jnp.zeros_like, below.delta)), metrics

    def update(state, residuals, gradients, context):
        return base.update(state, residuals.own, gradients, context)

    return Machine(init, forward, backward, update, needs=frozenset([need]), name=name, hears=False, tells=False)
