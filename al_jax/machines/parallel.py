"""Machines side by side: a layer split in width, each part with a rule of its own."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.machines.chain import joined, learning, of_all
from al_jax.machines.types import Feedback, Machine, begin, refuse_no_machine


def parallel(*machines: Machine, inputs: Sequence[int] | None = None, name: str = "parallel") -> Machine:
    """A machine whose output is that of all of them, one behind the other along the last axis.

    Args:
      machines: at least one; each hears of its own part of the output.
      inputs: units of the input that each of them sees, in order; None: all see all, and what they hand down adds up.
      name: what errors and metrics call it.

    Raises:
      ValueError: the numbers of machines and inputs differ; or, from `init`, the inputs are not those of `x`.
    """
    refuse_no_machine("parallel", *machines)
    if not machines or (inputs is not None and len(inputs) != len(machines)):
        raise ValueError(
            f"machines.parallel has {len(machines)} machines, inputs for {len(inputs or ())}: give each one"
        )

    def shares(x):
        if inputs is None:
            return [x] * len(machines)
        if sum(inputs) != x.shape[-1]:
            raise ValueError(f"machines.parallel: inputs are {list(inputs)}, but there are {x.shape[-1]} units")
        return _cut(x, inputs)

    def init(key, x):
        keys = [jax.random.fold_in(key, index) for index in range(len(machines))]
        return joined(begin(*of_one)[0] for of_one in zip(machines, keys, shares(x), strict=True))

    def forward(params, fixed, x, key, train):
        found = [
            machine.forward(params[index], fixed[index], share, jax.random.fold_in(key, index), train)
            for index, (machine, share) in enumerate(zip(machines, shares(x), strict=True))
        ]
        outputs, residuals = zip(*found, strict=True)
        return jnp.concatenate(outputs, axis=-1), (residuals, outputs, x)

    def below(x, deltas):
        if inputs is not None:
            return Feedback.along(x, jnp.concatenate(deltas, axis=-1))
        return Feedback.along(x, jax.tree.map(lambda first, *others: sum(others, first), *deltas))

    def work_down(turn, residuals, feedback, context):
        _, outputs, x = residuals
        widths = [y.shape[-1] for y in outputs]
        own = map(Feedback, _cut(feedback.delta, widths), _cut(feedback.target, widths))
        return below(x, [turn(index, mine).delta for index, mine in enumerate(own)])

    backward, update, learn_all = learning(machines, work_down)
    about: dict[str, Any] = {
        field: any(getattr(machine, field) for machine in machines) for field in ("hears", "tells", "initiates")
    }
    return Machine(init, forward, backward, update, learn_all, name=name, **of_all(machines), **about)


def _cut(x: jax.Array, widths: Sequence[int]) -> list[jax.Array]:
    return jnp.split(x, np.cumsum(widths)[:-1], axis=-1)
