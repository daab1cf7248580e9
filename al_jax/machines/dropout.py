"""Dropout whose rate follows a schedule of the updates."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from al_jax.machines.types import Feedback, Machine, MachineState


def scheduled_dropout(rate: Callable[[jax.Array], jax.Array], *, name: str = "dropout") -> Machine:
    """Drops entries of float inputs in training and scales the others, so that the mean stays; hands down what passed.

    Args:
      rate: of the number of updates so far, the share that is dropped, below 1; an Optax schedule for example.
      name: what errors and metrics call it.
    """

    def init(key, x):
        return MachineState((), {"updates": jnp.int32(0)}, ())

    def forward(params, fixed, x, key, train):
        if not train:
            return x, (x, None)
        with jax.numpy_dtype_promotion("standard"):  # schedules mix integer counts and floats
            keep = 1 - jnp.float32(rate(fixed["updates"]))
        scale = jnp.where(jax.random.bernoulli(key, keep, x.shape), 1 / keep, 0).astype(x.dtype)
        return x * scale, (x, scale)

    def backward(params, fixed, residuals, feedback, context):
        x, scale = residuals
        return (), Feedback.along(x, feedback.delta * scale), {}

    def update(state, residuals, gradients, context):
        return state._replace(fixed={"updates": state.fixed["updates"] + 1})

    return Machine(init, forward, backward, update, name=name)
