"""Machines one above the other."""

import jax

from al_jax.machines.types import Machine, MachineState, begin, learn


def chain(*machines: Machine, name: str = "chain") -> Machine:
    """A machine of machines, from the input upwards.

    Each takes the feedback that the one above hands down, at the parameters with which the network ran forward; one
    with an order of its own (see `al_jax.machines.orders`) keeps it.

    Args:
      machines: at least one.
      name: what errors and metrics call it.

    Raises:
      ValueError: there are none, or, from `init`, one does not take the output of the one below.
    """
    if not machines:
        raise ValueError("machines.chain needs at least one machine")

    def init(key, x):
        states = []
        for index, machine in enumerate(machines):
            state, x = begin(machine, jax.random.fold_in(key, index), x)
            states.append(state)
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
        return joined(
            machine.update(own, residuals[index], gradients[index], at(context, index))
            for index, (machine, own) in enumerate(zip(machines, split(state), strict=True))
        )

    def learn_down(state, residuals, feedback, context):
        states, metrics = split(state), {}
        for index, machine in reversed(list(enumerate(machines))):
            states[index], feedback, metrics[label(index, machine)] = learn(
                machine, states[index], residuals[index], feedback, at(context, index)
            )
        return joined(states), feedback, metrics

    needs = frozenset().union(*(machine.needs for machine in machines))
    effective = tuple(machine.effective for machine in machines)
    return Machine(init, forward, backward, update, learn_down, needs, name, machines, effective)


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
