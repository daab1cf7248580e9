"""Numbers and phases that change with the updates: how far a target goes, and who learns when."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from al_jax.arguments import whole
from al_jax.machines.types import Feedback, Machine, learn, refuse_moving, refuse_no_machine

Number = float | jax.Array
Schedule = Number | Callable[[jax.Array], jax.Array]
When = Callable[[jax.Array], jax.Array]


def value_at(schedule: Schedule, step: jax.Array) -> jax.Array:
    """A number, or an optax schedule at update `step`, as float32."""
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
        return jnp.float32(schedule(step) if callable(schedule) else schedule)


def is_zero(schedule: Schedule) -> bool:
    """Whether it is the plain number 0, of which nothing needs to be computed."""
    return isinstance(schedule, int | float) and schedule == 0


def refuse_negative(schedule: Schedule, what: str) -> None:
    """Raises ValueError for a plain number below 0; schedules and traced numbers are not looked at."""
    if isinstance(schedule, int | float) and not schedule >= 0:
        raise ValueError(f"{what} is {schedule}: it must be 0 or more")


def alternating(updates: int) -> tuple[When, When]:
    """Two phases that take turns, each of `updates` updates.

    Args:
      updates: of one phase; the number of updates of an epoch gives alternate epochs.

    Returns:
      Two functions of the number of an update. The first is true from update 0 on.

    Raises:
      ValueError: a phase has no updates.

    Example:
      >>> reverse_when, forward_when = alternating(2)
      >>> [bool(reverse_when(step)) for step in range(5)]
      [True, True, False, False, True]
    """
    whole("the number of updates of a phase", updates)

    def first(step):
        return step // updates % 2 == 0

    def second(step):
        return step // updates % 2 == 1

    return first, second


def with_phase(machine: Machine, when: When) -> Machine:
    """Lets a machine learn in its phase alone; outside of it parameters and optimizer stay exactly as they are.

    So its optimizer counts the updates of the phase only. What the machine hands down and its `fixed`, such as batch
    statistics, do not depend on the phase.

    Args:
      machine: any.
      when: maps the number of an update to whether the machine learns, such as `alternating` returns.

    Raises:
      ValueError: the machine learns in `fixed`, as trees, ensembles and averages do.
    """
    refuse_no_machine("with_phase", machine)
    refuse_moving(machine, "model", "average", "members")

    def kept(after, before, context):
        def chosen(field):
            new, old = getattr(after, field), getattr(before, field)
            return jax.tree.map(lambda new, old: jnp.where(when(context.step), new, old), new, old)

        return after._replace(params=chosen("params"), opt_state=chosen("opt_state"))

    def update(state, residuals, gradients, context):
        return kept(machine.update(state, residuals, gradients, context), state, context)

    def learn_in_phase(state, residuals, feedback, context):
        after, below, metrics = learn(machine, state, residuals, feedback, context)
        return kept(after, state, context), below, metrics

    return machine._replace(update=update, learn=learn_in_phase if machine.learn else None, parts=())


def with_step(machine: Machine, size: Schedule) -> Machine:
    """Scales what a machine hands down, and not what it learns: its target below is `x - size * delta`.

    Around the output layer it makes the first target of target propagation, `x - size * (gradient of the loss at x)`
    (Lee et al. 2015, arXiv 1412.7525, Algorithm 1). Losses are means over the batch, of `B` examples, so that gradient
    has a factor 1/B: a step along the gradient of each example's own loss is `size = step * B`.

    Args:
      machine: any.
      size: a number, or an optax schedule of the number of updates; 0 stops feedback, 1 changes nothing.

    Raises:
      ValueError: the size is negative.
    """
    refuse_no_machine("with_step", machine)
    refuse_negative(size, f"the step below machine {machine.name!r}")

    def scaled(below, context):
        amount = value_at(size, context.step)
        delta = jax.tree.map(lambda d: amount.astype(d.dtype) * d, below.delta)
        target = jax.tree.map(lambda t, d: t + (1 - amount).astype(d.dtype) * d, below.target, below.delta)
        return Feedback(delta, target)

    def backward(params, fixed, residuals, feedback, context):
        gradients, below, metrics = machine.backward(params, fixed, residuals, feedback, context)
        return gradients, scaled(below, context), metrics

    def learn_scaled(state, residuals, feedback, context):
        state, below, metrics = learn(machine, state, residuals, feedback, context)
        return state, scaled(below, context), metrics

    whole = machine._replace(backward=backward, learn=learn_scaled if machine.learn else None, parts=())
    return whole._replace(tells=machine.tells and not is_zero(size))
