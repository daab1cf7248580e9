"""Machines inside networks that `jax.grad` trains."""

import jax
import jax.numpy as jnp

from al_jax.machines.types import Context, Feedback, Machine, PyTree, refuse_no_machine


def differentiable(machine: Machine):
    """The function `(params, fixed, x, key, train, step=0) -> y` whose derivative is what the machine hands down.

    The "gradient" of its parameters is what `machine.backward` finds, that of its input the `delta` it hands down; the
    cotangent that reaches its output is its own feedback. So feedback alignment, least squares, learned inverses or
    evolution strategies take part in any `jax.grad`, and any optimizer may move the parameters. For the other way
    round, see `al.machines.from_linen`.

    Only a derivative comes back. Nothing else that an update does takes place: `fixed` stays as given, including batch
    statistics, averages, moving feedback matrices and the counters of schedules. What belongs to feedback and gradients
    does happen: the steps of `repeat_input`, and the phases and noise of target propagation as at update number `step`.
    `repeat_params`, `with_phase`, `step_then_feedback` and `masked(params=...)` have no effect.

    Raises:
      ValueError: the machine needs the network's error or the label, of which a layer inside `jax.grad` hears nothing;
        or, when a derivative is traced, what it finds does not have the form of its parameters, as in trees,
        estimators, ensembles, `searched` and `feedback_only`: it learns by its own update alone.
    """
    refuse_no_machine("differentiable", machine)
    if machine.needs:
        raise ValueError(
            f"machine {machine.name!r} needs the network's {' and '.join(sorted(machine.needs))}, of which a layer "
            "inside jax.grad hears nothing: train it with al.machines.trainer"
        )

    def call(
        params: PyTree, fixed: PyTree, x: PyTree, key: jax.Array, train: bool, step: int | jax.Array = 0
    ) -> PyTree:
        @jax.custom_vjp
        def run(params, fixed, x, key, step):
            return machine.forward(params, fixed, x, key, train)[0]

        def ahead(params, fixed, x, key, step):
            y, residuals = machine.forward(params, fixed, x, key, train)
            return y, (params, fixed, residuals, y, key, step)

        def back(kept, delta):
            params, fixed, residuals, y, key, step = kept
            context = Context(None, None, step, jax.random.fold_in(key, 1))
            gradients, below, _ = machine.backward(params, fixed, residuals, Feedback.along(y, delta), context)
            _refuse_other_than_gradients(machine, gradients, params)
            return gradients, None, below.delta, None, None

        run.defvjp(ahead, back)
        return run(params, fixed, x, key, jnp.int32(step))

    return call


def _refuse_other_than_gradients(machine: Machine, found: PyTree, params: PyTree) -> None:
    for part, *own in zip(machine.parts, found, params, strict=True) if machine.parts else ():
        _refuse_other_than_gradients(part, *own)
    forms = [(jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)]) for tree in (found, params)]
    if forms[0] != forms[1]:
        raise ValueError(
            f"machine {machine.name!r} learns by its own update and finds no gradients of its parameters, so jax.grad "
            "cannot train it: train it with al.machines.trainer"
        )
