"""Inner loops: many steps on a machine's input or on its parameters for one of the network."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from al_jax.arguments import whole
from al_jax.machines.linen import refuse_no_optimizer
from al_jax.machines.orders import remembering, searching
from al_jax.machines.types import Context, Feedback, Machine, learn, refuse_no_machine


def repeat_input(
    machine: Machine,
    times: int,
    optimizer: optax.GradientTransformation,
    loss: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> Machine:
    """Searches, by several optimizer steps, for the input that a machine wants; the last one is the target below.

    The machine learns from the input that it really had; the search runs at the parameters before its update.

    Args:
      machine: whose feedback is followed.
      times: steps; the number may be traced.
      optimizer: of the input.
      loss: `(y, label) -> scalar` to descend, a mean over the batch; None: the distance to the feedback's target.

    Raises:
      ValueError: there are no steps, or no optimizer.
    """
    refuse_no_machine("repeat_input", machine)
    refuse_no_optimizer(f"the input of machine {machine.name!r}", optimizer)
    _check(times, "repeat_input")

    def searched(params, fixed, residuals, feedback, context):
        _, x, key = residuals

        def step(_, carry):
            moved, opt_state = carry
            y, left = machine.forward(params, fixed, moved, key, True)
            own = _toward(y, feedback.target, loss, context)
            delta = machine.backward(params, fixed, left, own, context)[1].delta
            with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
                changes, opt_state = optimizer.update(delta, opt_state, moved)
            return optax.apply_updates(moved, changes), opt_state

        moved, _ = jax.lax.fori_loop(0, times, step, (x, optimizer.init(x)))
        return Feedback.toward(x, moved)

    needs = machine.needs | ({"label"} if loss else frozenset())
    initiates = machine.initiates or (machine.tells and loss is not None)
    return searching(machine, searched)._replace(needs=needs, initiates=initiates)


def repeat_params(
    machine: Machine,
    times: int,
    batch: int | None = None,
    loss: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> Machine:
    """Lets a machine learn several times from one batch; what it hands down is found first, by the machine as it was.

    Args:
      machine: any; its input stays.
      times: updates of the machine for one of the network; the number may be traced.
      batch: examples of each, drawn without replacement; None: all of them.
      loss: `(y, label) -> scalar` to descend, a mean over the batch; None: the distance to the feedback's target, which
        stays.

    Raises:
      ValueError: there are no updates, or no examples of each; or, when one is traced, the batch has fewer examples.
    """
    refuse_no_machine("repeat_params", machine)
    _check(times, "repeat_params")
    if batch is not None:
        whole("batch of machines.repeat_params", batch)

    def learn_often(state, residuals, feedback, context):
        residuals, x, key = residuals
        _, below, metrics = machine.backward(state.params, state.fixed, residuals, feedback, context)

        def once(time, state):
            own = context._replace(key=jax.random.fold_in(context.key, time))
            seen, target, own = _drawn(x, feedback.target, own, batch)
            y, left = machine.forward(state.params, state.fixed, seen, jax.random.fold_in(key, time), True)
            return learn(machine, state, left, _toward(y, target, loss, own), own)[0]

        return jax.lax.fori_loop(0, times, once, state), below, metrics

    needs = machine.needs | ({"label"} if loss else frozenset())
    return remembering(machine)._replace(learn=learn_often, needs=needs, hears=machine.hears and loss is None)


def _check(times: int, name: str) -> None:
    if not isinstance(times, jax.Array):
        whole(f"times of machines.{name}", times)


def _toward(y, target, loss, context: Context) -> Feedback:
    return Feedback.along(y, jax.grad(loss)(y, context.label)) if loss else Feedback.toward(y, target)


def _drawn(x, target, context: Context, batch: int | None):
    """The examples of one turn of an inner loop."""
    if batch is None:
        return x, target, context
    examples = len(jax.tree.leaves(x)[0])
    if batch > examples:
        raise ValueError(f"machines.repeat_params draws {batch} of {examples} examples: give a smaller batch")
    key_rows, key = jax.random.split(context.key)
    rows = jax.random.choice(key_rows, examples, (batch,), replace=False)
    x, target, error, label = jax.tree.map(
        lambda leaf: jnp.take(leaf, rows, axis=0), (x, target, context.error, context.label)
    )
    return x, target, context._replace(error=error, label=label, key=key)
