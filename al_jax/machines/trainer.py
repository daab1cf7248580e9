"""The trainer of a machine, with the interface that engines give to a network of components."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from al_jax.arguments import reason
from al_jax.components import with_prepare
from al_jax.engines import checks
from al_jax.engines.seeds import over
from al_jax.engines.update import copied
from al_jax.losses import cross_entropy
from al_jax.machines.chain import label
from al_jax.machines.components import Components, after, as_network, begun, state_of
from al_jax.machines.types import Context, Feedback, Machine, learn, refuse_no_machine
from al_jax.types import ComponentState, Metrics, Trainer

Loss = Callable[[jax.Array, jax.Array], jax.Array]
Update = Callable[[Components, Any], tuple[Components, tuple[dict[str, jax.Array], ...]]]


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
      ValueError: `machine` is not a machine, `loss` is not a function, or `diagnose` is of another machine. From
        `init`: a machine does not take such images, or the output below it, or cannot learn from such batches; the
        message names it. From `step`, `place` and `predict`: batches, components or images do not fit the machine. From
        `step` alone: the state is of other optimizers, which `place`, without images, cannot see.
    """
    refuse_no_machine("trainer", machine)
    if not callable(loss):
        raise ValueError(f"loss is a {type(loss).__name__}: it must be a function; each machine has its own optimizer")
    if getattr(diagnose, "machine", machine) is not machine:
        raise ValueError(f"diagnose measures another machine than {machine.name!r}: make it of the one that is trained")
    number = len(machine.parts or (machine,))
    draw = jax.jit(functools.partial(begun, machine, prepare))
    update = jax.jit(make_update(machine, loss, prepare, diagnose), inline=True)  # `init` and `step` trace it but once
    run = make_run(update)

    def run_all(states, batches, valid):
        def one(operand):
            return run(operand[0], operand[1], valid)

        return over(one, (states, batches)) if seeds else one((states, batches))

    compiled = jax.jit(run_all, donate_argnums=0)
    predict_one = with_prepare(as_network(machine), prepare).predict
    predict_compiled = jax.jit(jax.vmap(predict_one, in_axes=(0, None)) if seeds else predict_one)

    def init(key, batch):
        checks.check_batch(batch, 1)
        _check_names(batch)
        if seeds and not getattr(key, "ndim", isinstance(key, Sequence)):
            raise ValueError("a trainer of seeds takes a key for each of them, as jax.random.split makes, not one")
        for own in key if seeds else [key]:
            checks.check_key(own)
        batch = {name: jnp.zeros(x.shape, _dtype(x)) for name, x in batch.items()}
        drawn = [draw(own, batch)[0] for own in (key if seeds else [key])]
        _check_update(machine, update, drawn[0], batch)
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn) if seeds else drawn[0]

    def place(components):
        checks.check_number(components, number)
        return copied(tuple(components))

    @functools.lru_cache  # tracing takes longer than the rest of a step
    def expected(types):
        """Components and scores, as shapes, for one batch of these types by name."""
        batch = {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape, dtype in types}
        return jax.eval_shape(draw, jax.random.key(0), batch)

    def step(state, batches, valid=None):
        of_one = {name: x[0] for name, x in batches.items()} if seeds else batches
        valid = checks.check_batches(of_one, 1, 1, valid)
        _check_names(batches)
        checks.check_state(state, ComponentState)
        components, scores = expected(tuple((name, x.shape[1:], _dtype(x)) for name, x in of_one.items()))
        check_components(state, components, seeds)
        for own in batches["label"] if seeds else [batches["label"]]:
            checks.check_labels({"label": own}, valid, _classes(scores))
        return compiled(state, jax.device_put(dict(batches)), jnp.int32(valid))

    def predict(state, images, depth=None):
        checks.check_state(state, ComponentState)
        checks.check_prediction(images, depth, range(1, 2))  # a machine has one output
        with checks.fitting(images):
            return predict_compiled([own.variables for own in state], images)

    return Trainer(init, step, lambda state: state, place, place, predict)


def make_update(machine: Machine, loss: Loss, prepare: Callable | None, diagnose: Callable | None) -> Update:
    """The pure function of one update, `(components, batch) -> (components, losses of each)`."""
    parts = machine.parts or (machine,)

    def scalar(scores, label):
        value = loss(scores, label)
        if jnp.shape(value):
            raise ValueError(f"the loss has the shape {jnp.shape(value)}: it must be a scalar, a mean over the batch")
        return value

    def update(components, batch):
        number = components[0].updates
        key = jax.random.fold_in(jax.random.wrap_key_data(components[0].key, impl="threefry2x32"), number)
        key_prepare, key_forward, key_context = jax.random.split(key, 3)
        image = prepare(batch["image"], key_prepare, True) if prepare else batch["image"]
        state = state_of(machine, components)
        scores, residuals = machine.forward(state.params, state.fixed, image, key_forward, True)
        value, error = jax.value_and_grad(scalar)(scores, batch["label"])
        context = Context(error, batch["label"], number, key_context)
        metrics: dict[str, Any] = diagnose(state, image, key_forward, context) if diagnose else {}
        state, _, own = learn(machine, state, residuals, Feedback.along(scores, error), context)
        named = own if machine.parts else {label(0, machine): own}
        measured = [_flat([named, metrics], label(index, part)) for index, part in enumerate(parts)]
        measured[-1]["loss"] = value
        return after(machine, components, state), tuple(measured)

    return update


def make_run(update: Update):
    """The pure function `(components, batches, valid) -> (components, metrics)` over the first `valid` batches."""

    def run(components: Components, batches, valid):
        number = len(jax.tree.leaves(batches)[0])
        first = jax.tree.map(lambda x: x[0], batches)
        shapes = jax.eval_shape(update, components, first)[1]
        losses = jax.tree.map(lambda leaf: jnp.full((number,), jnp.nan, leaf.dtype), shapes)
        updates = jnp.full((len(components), number), -1, jnp.int32)

        def tick(m, carry):
            components, metrics = carry
            before = jnp.stack([own.updates for own in components])
            components, measured = update(components, {name: x[m] for name, x in batches.items()})
            losses = jax.tree.map(lambda row, new: row.at[m].set(new), metrics.losses, measured)
            return components, Metrics(metrics.updates.at[:, m].set(before), losses)

        return jax.lax.fori_loop(0, valid, tick, (components, Metrics(updates, losses)))

    return run


def _check_names(batch) -> None:
    if missing := [name for name in ("image", "label") if name not in batch]:
        raise ValueError(f"the batch has no {missing[0]!r}: a machine learns from an 'image' and a 'label'")


def _check_update(machine: Machine, update: Update, components: Components, batch) -> None:
    """Refuses in a sentence what would fail in the first step."""
    try:
        jax.eval_shape(update, components, batch)
    except Exception as error:
        raise ValueError(f"machine {machine.name!r} cannot learn from such batches: {reason(error)}") from error


def check_components(components: Components, expected: Components, axes: int) -> None:
    """Refuses components of other machines or images and states of other optimizers, after so many axes of seeds."""
    checks.check_number(components, len(expected))
    for number, (own, wanted) in enumerate(zip(components, expected, strict=True), 1):
        if _types(own.variables, axes) != _types(wanted.variables):
            raise ValueError(
                f"component {number} is none of this machine for such batches: place those of the same machine, drawn "
                "for images of that size"
            )
        if _types(own.opt_state, axes) != _types(wanted.opt_state):
            raise ValueError(
                f"the state of component {number}'s optimizer is not this machine's: place components that were "
                "trained with it, or put opt_state from init into them"
            )


def _types(tree: Any, axes: int = 0) -> tuple[Any, list]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape[axes:], leaf.dtype) for leaf in leaves]


def _dtype(x) -> Any:
    """The type that an array has on a device, where int64 is int32."""
    return jax.dtypes.canonicalize_dtype(x.dtype)


def _classes(scores) -> int | None:
    """How many classes there are; None for what are no scores `(B, classes)` of several."""
    return scores.shape[1] if getattr(scores, "ndim", 0) == 2 and scores.shape[1] > 1 else None


def _flat(trees: list[dict[str, Any]], part: str) -> dict[str, jax.Array]:
    """What was measured of one part, by names such as `distance` or `2_dense/angle`."""
    leaves = [leaf for tree in trees for leaf in jax.tree_util.tree_leaves_with_path(tree.get(part, {}))]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): jnp.float32(value) for path, value in leaves}
