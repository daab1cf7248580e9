"""The trainer of a machine: the same face that engines give to a network of components."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from al_jax.components import with_prepare
from al_jax.engines import checks
from al_jax.losses import cross_entropy
from al_jax.machines.chain import joined, label, split
from al_jax.machines.types import Context, Feedback, Machine, MachineState, begin, learn
from al_jax.types import Component, ComponentState, Metrics, Network, Trainer

Components = tuple[ComponentState, ...]
Loss = Callable[[jax.Array, jax.Array], jax.Array]


def trainer(
    machine: Machine,
    loss: Loss = cross_entropy,
    *,
    prepare: Callable | None = None,
    diagnose: Callable | None = None,
    seeds: bool = False,
) -> Trainer:
    """Trains a machine: forward, the loss's gradient at the output as feedback, and the machine's own learning.

    Each of the machines that `machine` chains is a component, so a checkpoint and a digest look like any other.

    Args:
      machine: images to scores `(B, classes)`.
      loss: `(scores, label) -> scalar`, a mean over the batch.
      prepare: `(image, key, train) -> image`, applied to the batch's images inside jit.
      diagnose: `al.machines.diagnostics(machine, loss)`, whose measures of every update join the metrics.
      seeds: keys, batches, components and metrics have a leading axis of seeds: one after another under `lax.map` on
        CPU, together under `vmap` on accelerators.

    Raises:
      ValueError: there is no machine, or no function for a loss. From `init`, a machine does not take such images, or
        what is below it; the message names it. From `step`, `place` and `predict`, what does not fit.
    """
    if not isinstance(machine, Machine):
        raise ValueError(f"machines.trainer takes a machine, not a {type(machine).__name__}: engines train networks")
    if not callable(loss):
        raise ValueError(f"loss is a {type(loss).__name__}: it must be a function; each machine has its own optimizer")
    run = make_run(machine, loss, prepare, diagnose)
    parts = machine.parts or (machine,)

    def run_all(states, batches, valid):
        def one(operand):
            return run(operand[0], operand[1], valid)

        if not seeds:
            return one((states, batches))
        return (
            jax.lax.map(one, (states, batches)) if jax.default_backend() == "cpu" else jax.vmap(one)((states, batches))
        )

    compiled = jax.jit(run_all, donate_argnums=0)
    predict_one = with_prepare(as_network(machine), prepare).predict
    predict_compiled = jax.jit(jax.vmap(predict_one, in_axes=(0, None)) if seeds else predict_one)
    draw = jax.jit(lambda key, batch: initial_components(machine, prepare, key, batch))

    def init(key, batch):
        checks.check_batch(batch, 1)
        batch = {name: jnp.zeros(x.shape, x.dtype) for name, x in batch.items()}
        if not seeds:
            return draw(key, batch)
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[draw(own, batch) for own in key])

    def place(components):
        checks.check_number(components, len(parts))
        return jax.device_put(tuple(components), may_alias=False)  # copies, since a step consumes its state

    def step(state, batches, valid=None):
        of_one = {name: x[0] for name, x in batches.items()} if seeds else batches
        valid = checks.check_batches(of_one, 1, 1, valid)
        checks.check_state(state, ComponentState)
        with checks.fitting(batches.get("image")):
            return compiled(state, jax.device_put(dict(batches)), jnp.int32(valid))

    def predict(state, images, depth=None):
        checks.check_state(state, ComponentState)
        checks.check_prediction(images, depth, range(1, 2))  # a machine has one output
        with checks.fitting(images):
            return predict_compiled([own.variables for own in state], images)

    return Trainer(init, step, lambda state: state, place, place, predict)


def make_run(machine: Machine, loss: Loss, prepare: Callable | None, diagnose: Callable | None):
    """The pure function `(components, batches, valid) -> (components, metrics)` over the first `valid` batches."""
    parts = machine.parts or (machine,)

    def update(components: Components, batch) -> tuple[Components, tuple[dict[str, jax.Array], ...]]:
        number = components[0].updates
        key = jax.random.fold_in(jax.random.wrap_key_data(components[0].key, impl="threefry2x32"), number)
        key_prepare, key_forward, key_context = jax.random.split(key, 3)
        image = prepare(batch["image"], key_prepare, True) if prepare else batch["image"]
        state = state_of(machine, components)
        scores, residuals = machine.forward(state.params, state.fixed, image, key_forward, True)
        value, error = jax.value_and_grad(loss)(scores, batch["label"])
        context = Context(error, batch["label"], number, key_context)
        metrics: dict[str, Any] = diagnose(state, image, key_forward, context) if diagnose else {}
        state, _, own = learn(machine, state, residuals, Feedback.along(scores, error), context)
        named = own if machine.parts else {label(0, machine): own}
        measured = [_flat([named, metrics], label(index, part)) for index, part in enumerate(parts)]
        measured[-1]["loss"] = value
        return _after(machine, components, state), tuple(measured)

    def run(components: Components, batches, valid):
        number = len(jax.tree.leaves(batches)[0])
        first = jax.tree.map(lambda x: x[0], batches)
        shapes = jax.eval_shape(update, components, first)[1]
        losses = jax.tree.map(lambda leaf: jnp.full((number,), jnp.nan, leaf.dtype), shapes)
        updates = jnp.full((len(parts), number), -1, jnp.int32)

        def tick(m, carry):
            components, metrics = carry
            before = jnp.stack([own.updates for own in components])
            components, measured = update(components, {name: x[m] for name, x in batches.items()})
            losses = jax.tree.map(lambda row, new: row.at[m].set(new), metrics.losses, measured)
            return components, Metrics(metrics.updates.at[:, m].set(before), losses)

        return jax.lax.fori_loop(0, valid, tick, (components, Metrics(updates, losses)))

    return run


def _flat(trees: list[dict[str, Any]], part: str) -> dict[str, jax.Array]:
    """What was measured of one part, by names such as `distance` or `2_dense/angle`."""
    leaves = [leaf for tree in trees for leaf in jax.tree_util.tree_leaves_with_path(tree.get(part, {}))]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): jnp.float32(value) for path, value in leaves}


def as_network(machine: Machine) -> Network:
    """The machine as a network with one prediction, for evaluation, counts and checkpoints; engines cannot train it."""
    parts = machine.parts or (machine,)

    def predict(variables, images, depth=None):
        del depth
        state = _assembled(machine, [MachineState(own["params"], own["fixed"], ()) for own in variables])
        return machine.forward(state.params, state.fixed, images, jax.random.key(0), False)[0]

    components = tuple(Component(_of_a_trainer, _of_a_trainer, "parameters", {}, part.name) for part in parts)
    return Network(components, predict, tuple(part.effective for part in parts), levels=1)


def _of_a_trainer(*_):
    raise ValueError("a learning machine trains by al.machines.trainer, not by the engines of components")


def initial_components(machine: Machine, prepare: Callable | None, key: jax.Array, batch) -> Components:
    """Draws every component; `batch` gives shapes and types only."""
    key_init, key_stream, key_prepare = jax.random.split(key, 3)
    image = prepare(batch["image"], key_prepare, False) if prepare else batch["image"]
    states, _ = begin(machine, key_init, image)
    stream = jax.random.bits(key_stream, (2,), jnp.uint32)
    return tuple(
        ComponentState(own.params, {"fixed": own.fixed}, own.opt_state, jnp.int32(0), stream)
        for own in (split(states) if machine.parts else [states])
    )


def state_of(machine: Machine, components: Components) -> MachineState:
    """The machine's own state, of the canonical components."""
    states = [MachineState(own.params, own.model_state["fixed"], own.opt_state) for own in components]
    return _assembled(machine, states)


def _assembled(machine: Machine, states: list[MachineState]) -> MachineState:
    return joined(states) if machine.parts else states[0]


def _after(machine: Machine, before: Components, state: MachineState) -> Components:
    states = split(state) if machine.parts else [state]
    return tuple(
        own._replace(
            params=new.params, model_state={"fixed": new.fixed}, opt_state=new.opt_state, updates=own.updates + 1
        )
        for own, new in zip(before, states, strict=True)
    )
