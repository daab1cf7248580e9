"""Machines one above the other."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from al_jax.machines.types import Machine, MachineState, Unheard, begin, learn, refuse_no_machine


def chain(*machines: Machine, name: str = "chain") -> Machine:
    """A machine of machines, from the input upwards.

    Each takes the feedback that the one above hands down, at the parameters with which the network ran forward; one
    with an order of its own (see `al_jax.machines.orders`) keeps it.

    Args:
      machines: at least one.
      name: what errors and metrics call it.

    Raises:
      ValueError: there are none, or something else among them; or, from `init`, one does not take the output of the one
        below, or would never learn, since one above it hands no feedback down.
    """
    if not machines:
        raise ValueError("machines.chain needs at least one machine")
    refuse_no_machine("chain", *machines)

    def init(key, x):
        states = []
        for index, machine in enumerate(machines):
            state, x = begin(machine, jax.random.fold_in(key, index), x)
            states.append(state)
        _refuse_unheard(machines, states)
        return joined(states)

    def forward(params, fixed, x, key, train):
        residuals = []
        for index, machine in enumerate(machines):
            x, left = machine.forward(params[index], fixed[index], x, jax.random.fold_in(key, index), train)
            residuals.append(left)
        return x, tuple(residuals)

    def work_down(turn, residuals, feedback, context):
        for index in reversed(range(len(machines))):
            feedback = turn(index, feedback)
        return feedback

    backward, update, learn_all = learning(machines, work_down, lambda residuals: residuals)
    silent = next((index for index in reversed(range(len(machines))) if not machines[index].tells), 0)
    initiates = any(
        own.initiates and all(below.tells for below in machines[:index]) for index, own in enumerate(machines)
    )
    about: dict[str, Any] = {
        "hears": any(machine.hears for machine in machines[silent:]),
        "tells": initiates or all(machine.tells for machine in machines),
        "initiates": initiates,
        **of_all(machines),
    }
    return Machine(init, forward, backward, update, learn_all, name=name, parts=machines, **about)


def learning(machines: Sequence[Machine], work_down: Callable, own: Callable = lambda residuals: residuals[0]):
    """The `backward`, `update` and `learn` of a machine of machines.

    Args:
      machines: those whose states are joined.
      work_down: `(turn, residuals, feedback, context) -> below`, which lets every machine take its turn,
        `turn(index, feedback) -> below`, and hands down feedback for the input of all.
      own: from the residuals of all to those of each machine.
    """

    def backward(params, fixed, residuals, feedback, context):
        gradients, metrics = [()] * len(machines), {}

        def turn(index, feedback):
            part, left = machines[index], own(residuals)[index]
            gradients[index], below, metrics[label(index, part)] = part.backward(
                params[index], fixed[index], left, feedback, at(context, index)
            )
            return below

        below = work_down(turn, residuals, feedback, context)
        return tuple(gradients), below, metrics

    def update(state, residuals, gradients, context):
        return update_parts(machines, state, own(residuals), gradients, context)

    def learn_all(state, residuals, feedback, context):
        states, metrics = split(state), {}

        def turn(index, feedback):
            part, left = machines[index], own(residuals)[index]
            states[index], below, metrics[label(index, part)] = learn(
                part, states[index], left, feedback, at(context, index)
            )
            return below

        below = work_down(turn, residuals, feedback, context)
        return joined(states), below, metrics

    return backward, update, learn_all


def of_all(machines: Sequence[Machine]) -> dict[str, Any]:
    """The fields of `Machine` that for a machine of machines are those of all its parts together."""
    return {
        "needs": frozenset().union(*(machine.needs for machine in machines)),
        "effective": tuple(machine.effective for machine in machines),
        "beside": frozenset().union(*(machine.beside for machine in machines)),
    }


def update_parts(machines: Sequence[Machine], state: MachineState, residuals, gradients, context) -> MachineState:
    """The updates of machines whose states are joined, each with its own draws."""
    parts = enumerate(zip(machines, split(state), residuals, gradients, strict=True))
    return joined(part.update(own, left, found, at(context, index)) for index, (part, own, left, found) in parts)


def _refuse_unheard(machines: Sequence[Machine], states: Sequence[MachineState]) -> None:
    """Raises Unheard for a machine that learns by feedback of which nothing reaches it."""
    for index, (machine, state) in enumerate(zip(machines, states, strict=True)):
        if not machine.hears or not learns(machine, state):
            continue
        for place, above in enumerate(machines[index + 1 :], index + 1):
            if not above.tells:
                raise Unheard(
                    f"machine {label(index, machine)!r} would never learn, since {label(place, above)!r} above hands "
                    "no feedback down: give it a rule that hears the error or the label, or freeze it by "
                    "al.machines.feedback_only"
                )
            if above.initiates:
                break


def learns(machine: Machine, state: MachineState) -> bool:
    """Whether there is something to learn: parameters, or a model that is fitted."""
    return bool(jax.tree.leaves(state.params)) or "model" in machine.beside


def label(index: int, machine: Machine) -> str:
    """The name of a part in metrics, counted from 1."""
    return f"{index + 1}_{machine.name}"


def at(context, index: int):
    """The context of one part, with draws of its own."""
    return context._replace(key=jax.random.fold_in(context.key, index))


def joined(states) -> MachineState:
    """The state of a machine of machines."""
    states = tuple(states)
    return MachineState(*(tuple(state[field] for state in states) for field in range(3)))


def split(state: MachineState) -> list[MachineState]:
    """The inverse of `joined`."""
    return [MachineState(*fields) for fields in zip(*state, strict=True)]
