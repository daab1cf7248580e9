"""Orders of work: what a machine does first, and what it does at all."""

from collections.abc import Callable
from typing import Any

from al_jax.machines.types import Feedback, Machine, learn, refuse_moving, refuse_no_machine


def step_then_feedback(machine: Machine) -> Machine:
    """Updates the machine first, then finds what it hands down at its new parameters.

    Zenkai's `StepPriority`. The forward pass runs a second time, with the draws of the first.
    """
    refuse_no_machine("step_then_feedback", machine)

    def learn_first(state, residuals, feedback, context):
        residuals, x, key = residuals
        state, _, metrics = learn(machine, state, residuals, feedback, context)
        y, residuals = machine.forward(state.params, state.fixed, x, key, True)
        anew = Feedback.toward(y, feedback.target)
        _, below, _ = machine.backward(state.params, state.fixed, residuals, anew, context)
        return state, below, metrics

    return remembering(machine)._replace(learn=learn_first)


def feedback_only(machine: Machine) -> Machine:
    """Hands feedback down and never changes.

    Raises:
      ValueError: the machine has noise or dropout of a schedule, which would never go on.
    """
    refuse_no_machine("feedback_only", machine)
    refuse_moving(machine, "schedule")

    def backward(params, fixed, residuals, feedback, context):
        _, below, metrics = machine.backward(params, fixed, residuals, feedback, context)
        return (), below, metrics

    def update(state, residuals, gradients, context):
        return state

    still: dict[str, Any] = {"hears": False, "beside": frozenset()}
    return machine._replace(backward=backward, update=update, learn=None, parts=(), **still)


def remembering(machine: Machine) -> Machine:
    """The machine, with residuals `(its own, x, key)`: combinators that run it again need its input and its draws."""

    def forward(params, fixed, x, key, train):
        y, residuals = machine.forward(params, fixed, x, key, train)
        return y, (residuals, x, key)

    def backward(params, fixed, residuals, feedback, context):
        return machine.backward(params, fixed, residuals[0], feedback, context)

    def update(state, residuals, gradients, context):
        return machine.update(state, residuals[0], gradients, context)

    return machine._replace(forward=forward, backward=backward, update=update, learn=None, parts=())


def searching(machine: Machine, searched: Callable[..., Feedback]) -> Machine:
    """The machine, handing down `searched(params, fixed, residuals, feedback, context)` in place of its own feedback.

    The search runs at the parameters before the update, with residuals as of `remembering`.
    """

    def backward(params, fixed, residuals, feedback, context):
        gradients, _, metrics = machine.backward(params, fixed, residuals[0], feedback, context)
        return gradients, searched(params, fixed, residuals, feedback, context), metrics

    def learn_and_search(state, residuals, feedback, context):
        learned, _, metrics = learn(machine, state, residuals[0], feedback, context)
        return learned, searched(state.params, state.fixed, residuals, feedback, context), metrics

    return remembering(machine)._replace(backward=backward, learn=learn_and_search)
