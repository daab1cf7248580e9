"""A machine as components, one for each that it chains: what checkpoints, evaluation and digests see of it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from al_jax.components import check_variables
from al_jax.engines.update import strong
from al_jax.machines.chain import joined, split
from al_jax.machines.types import Machine, MachineState, begin
from al_jax.types import Component, ComponentState, Network

Components = tuple[ComponentState, ...]


def as_network(machine: Machine) -> Network:
    """The machine as a network with one prediction, for evaluation, counts and checkpoints; engines cannot train it."""
    parts = machine.parts or (machine,)

    def predict(variables, images, depth=None):
        del depth
        check_variables(variables, len(parts))
        state = _assembled(machine, [MachineState(own["params"], own["fixed"], ()) for own in variables])
        scores, _ = machine.forward(state.params, state.fixed, images, jax.random.key(0), False)
        return jnp.asarray(scores, jnp.float32)

    components = tuple(Component(_of_a_trainer, _of_a_trainer, "parameters", {}, part.name) for part in parts)
    return Network(components, predict, tuple(part.effective for part in parts), levels=1)


def _of_a_trainer(*_):
    raise ValueError("a learning machine trains by al.machines.trainer, not by the engines of components")


def begun(machine: Machine, prepare: Callable | None, key: jax.Array, batch) -> tuple[Components, Any]:
    """Draws every component; also zeros of the shape and type of the scores. `batch` gives shapes and types only."""
    key_init, key_stream, key_prepare = jax.random.split(key, 3)
    image = prepare(batch["image"], key_prepare, False) if prepare else batch["image"]
    states, scores = begin(machine, key_init, image)
    stream = jax.random.bits(key_stream, (2,), jnp.uint32)
    components = tuple(
        ComponentState(own.params, {"fixed": own.fixed}, own.opt_state, jnp.int32(0), stream)
        for own in (split(states) if machine.parts else [states])
    )
    return strong(components), scores


def state_of(machine: Machine, components: Components) -> MachineState:
    """The machine's own state, of the canonical components."""
    states = [MachineState(own.params, own.model_state["fixed"], own.opt_state) for own in components]
    return _assembled(machine, states)


def _assembled(machine: Machine, states: list[MachineState]) -> MachineState:
    return joined(states) if machine.parts else states[0]


def after(machine: Machine, before: Components, state: MachineState) -> Components:
    """The components after an update, of the machine's state after it."""
    states = split(state) if machine.parts else [state]
    return tuple(
        own._replace(
            params=new.params, model_state={"fixed": new.fixed}, opt_state=new.opt_state, updates=own.updates + 1
        )
        for own, new in zip(before, states, strict=True)
    )
