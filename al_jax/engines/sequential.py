"""The sequential engine: every component on one device, one micro-batch after another."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from al_jax.chain import check_cuttable, signal_shapes
from al_jax.components import with_prepare
from al_jax.engines import checks
from al_jax.engines import exact as exactness
from al_jax.engines.messages import make_workers, work_through
from al_jax.engines.optimizers import Optimizer, optimizers_of
from al_jax.engines.pipelined import pipelined
from al_jax.engines.update import Held, Slices, copied, drawing, hold
from al_jax.types import Batch, Metrics, Network, Prepare, Trainer

State = tuple[Held, ...]
Run = Callable[[State, Batch, jax.Array], tuple[State, Metrics]]


def sequential(
    network: Network,
    optimizer: Optimizer,
    devices: Sequence[jax.Device] | None = None,
    *,
    shards: int = 1,
    accumulate: int = 1,
    prepare: Prepare | None = None,
    exact: bool = False,
) -> Trainer:
    """Trains all components of a network on each micro-batch in turn.

    Args:
      network: what a rule or `al.compose` made.
      optimizer: one optax transformation for all components, or a function of the component's index that gives one.
        Each is given the value of its component's objective, but cannot evaluate it anew, as line searches do.
      devices: by default the one that `jax.default_device` says, or this process's first; several are a data axis that
        shares each micro-batch.
      shards: slices of a micro-batch. Batch norm sees a slice; gradients are averaged over slices in order. A multiple
        of the number of devices.
      accumulate: micro-batches for one update, their gradients averaged in order.
      prepare: `(image, key, train) -> image`, applied to the batch's images inside jit.
      exact: compile so that every engine computes the same bits (CPU, float32; see `al_jax.engines.exact`).

    Raises:
      ValueError: `devices` is empty, or `shards` or `accumulate` does not fit.
    """
    if devices is not None:
        checks.check_are_devices(devices)
    if devices is not None and len(devices) > 1:
        return pipelined(
            network,
            optimizer,
            devices,
            data=len(devices),
            shards=shards,
            accumulate=accumulate,
            prepare=prepare,
            exact=exact,
        )
    checks.check_cut(shards, 1, accumulate)
    network = with_prepare(network, prepare)
    optimizers = optimizers_of(network, optimizer)
    device = default_device() if devices is None else devices[0]
    draw = drawing(network, optimizers)
    run = make_run(network, optimizers, shards, accumulate)
    compiled = jax.jit(run, donate_argnums=0, compiler_options=exactness.compiler_options(exact))
    predict_compiled = jax.jit(network.predict, static_argnames="depth")

    def init(key, batch):
        checks.check_batch(batch, shards)
        return place(draw(key, batch))

    def place(components):
        checks.check_components(components, network, optimizers)
        held = tuple(hold(state, accumulate) for state in components)
        return copied(held, device)

    def components(state):
        checks.check_state(state, Held)
        return copied(tuple(held.state for held in state), device)

    def step(state, batches, valid=None):
        valid = checks.check_batches(batches, shards, accumulate, valid)
        checks.check_state(state, Held)
        checks.check_labels(batches, valid, network.classes)
        with checks.fitting(batches.get("image")):
            return compiled(state, jax.device_put(dict(batches), device), jnp.int32(valid))

    def predict(state, images, depth=None):
        checks.check_state(state, Held)
        depth = checks.check_prediction(images, depth, network.depths)
        variables = [held.state.variables for held in state]
        with checks.fitting(images):
            return predict_compiled(variables, jax.device_put(images, device), depth=depth)

    return Trainer(init, step, lambda state: state, components, place, predict)


def default_device() -> jax.Device:
    """Where JAX puts what it makes: the device of `jax.default_device`, else the first of this process."""
    chosen: Any = jax.config.jax_default_device  # pyrefly: ignore[missing-attribute]
    return chosen if isinstance(chosen, jax.Device) else jax.local_devices(backend=chosen)[0]


def make_run(network: Network, optimizers, shards: int, accumulate: int) -> Run:
    """The pure function `(state, batches, valid) -> (state, metrics)` over the first `valid` micro-batches."""
    workers = make_workers(network, optimizers, accumulate, Slices(shards))

    def run(state, batches, valid):
        number = len(jax.tree.leaves(batches)[0])
        updates = jnp.full((len(workers), number), -1, jnp.int32)
        entering, leaving = signal_shapes(network, jax.tree.map(lambda x: x[0], batches))
        if shards > 1:
            check_cuttable(network, entering)
        losses = jax.tree.map(lambda _: jnp.full((number,), jnp.nan, jnp.float32), tuple(out[1] for out in leaving))

        def tick(m, carry):
            state, metrics = carry
            before = jnp.stack([held.state.updates for held in state])
            state, _, own = work_through(workers, state, {name: x[m] for name, x in batches.items()})
            updates = jax.lax.dynamic_update_index_in_dim(metrics.updates, before, m, axis=1)
            losses = jax.tree.map(
                lambda row, loss: jax.lax.dynamic_update_index_in_dim(row, loss, m, axis=0), metrics.losses, own
            )
            return state, Metrics(updates, losses)

        # A traced bound: a short tail of an epoch runs the program that was compiled for whole calls.
        return jax.lax.fori_loop(0, valid, tick, (state, Metrics(updates, losses)))

    return run
