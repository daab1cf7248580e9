"""Machines one above the other."""

from collections.abc import Sequence
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

    def backward(params, fixed, residuals, feedback, context):
        gradients, metrics = [], {}
        for index, machine in reversed(list(enumerate(machines))):
            own = at(context, index)
            found, feedback, metrics[label(index, machine)] = machine.backward(
                params[index], fixed[index], residuals[index], feedback, own
            )
            gradients.insert(0, found)
        return tuple(gradients), feedback, metrics

    def update(state, residuals, gradients, context):
        return update_parts(machines, state, residuals, gradients, context)

    def learn_down(state, residuals, feedback, context):
        states, metrics = split(state), {}
        for index, machine in reversed(list(enumerate(machines))):
            states[index], feedback, metrics[label(index, machine)] = learn(
                machine, states[index], residuals[index], feedback, at(context, index)
            )
        return joined(states), feedback, metrics

    needs = frozenset().union(*(machine.needs for machine in machines))
    effective = tuple(machine.effective for machine in machines)
    silent = next((index for index in reversed(range(len(machines))) if not machines[index].tells), 0)
    initiates = any(
        own.initiates and all(below.tells for below in machines[:index]) for index, own in enumerate(machines)
    )
    about: dict[str, Any] = {
        "hears": any(machine.hears for machine in machines[silent:]),
        "tells": initiates or all(machine.tells for machine in machines),
        "initiates": initiates,
        "beside": frozenset().union(*(machine.beside for machine in machines)),
    }
    return Machine(init, forward, backward, update, learn_down, needs, name, machines, effective, **about)


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
