"""Machines inside networks that `jax.grad` trains."""

import jax
import jax.numpy as jnp

from al_jax.machines.types import Context, Feedback, Machine, PyTree


def differentiable(machine: Machine):
    """The function `(params, fixed, x, key, train) -> y` whose derivative is what the machine hands down.

    Of its parameters the "gradient" is what `machine.backward` finds, of its input `feedback.delta`; the cotangent
    that reaches its output is its own feedback. So feedback alignment, least squares or search take part in any
    `jax.grad`, and any optimizer may move the parameters. Other way round: `al.machines.from_linen`.

    Raises:
      ValueError: the machine needs the network's error or the label, of which a layer inside `jax.grad` hears nothing.
    """
    if machine.needs:
        raise ValueError(
            f"machine {machine.name!r} needs the network's {' and '.join(sorted(machine.needs))}, of which a layer "
            "inside jax.grad hears nothing: train it with al.machines.trainer"
        )

    def call(params: PyTree, fixed: PyTree, x: PyTree, key: jax.Array, train: bool) -> PyTree:
        @jax.custom_vjp
        def run(params, fixed, x, key):
            return machine.forward(params, fixed, x, key, train)[0]

        def ahead(params, fixed, x, key):
            y, residuals = machine.forward(params, fixed, x, key, train)
            return y, (params, fixed, residuals, y, key)

        def back(kept, delta):
            params, fixed, residuals, y, key = kept
            context = Context(None, None, jnp.int32(0), jax.random.fold_in(key, 1))
            gradients, below, _ = machine.backward(params, fixed, residuals, Feedback.along(y, delta), context)
            return gradients, None, below.delta, None

        run.defvjp(ahead, back)
        return run(params, fixed, x, key)

    return call
