"""What every device of a pipeline runs: a scan over ticks, each one a switch between the stages' blocks."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from al_jax.engines.packing import Layout, empty, pack, unpack
from al_jax.engines.update import Held, Work
from al_jax.engines.varying import varying
from al_jax.types import Signal


def make_program(
    works: Sequence[Sequence[Work]], layout: Layout, signals: Layout, number: int, losses: int, axes: tuple[str, str]
) -> Callable:
    """Builds `(held, signal, full, rows, valid) -> ((held, signal, full), (updates, losses))`.

    It runs inside `shard_map` over the axes (stage, data). Arrays of the state have those axes in front, both 1 here.

    Args:
      works: for each stage the work of its components.
      layout: how the stages' components are packed.
      signals: how the signals that enter the stages are packed; nothing for stage 0.
      number: M, the micro-batches of a call, one a tick.
      losses: the largest number of losses of a component.
      axes: names of the mesh axes.

    Returns:
      A function of the packed state, `rows` `(ceil(M / stages), 1, B, ...)`, of which this device feeds the micro-batches
      m ≡ stage modulo the number of stages, and the number of valid micro-batches. It measures per tick the number of
      the update `(M,)`, -1 without work, and the losses `(M, components, losses)`, NaN without work.
    """
    stages, deepest = len(works), max(map(len, works))
    stage_axis = axes[0]
    upwards = [(stage, (stage + 1) % stages) for stage in range(stages)]
    downwards = [(to, source) for source, to in upwards]

    def branch(stage: int):
        def run(held_slots, signal_slots, belt):
            held = unpack(layout, stage, held_slots)
            signal = belt if stage == 0 else unpack(signals, stage, signal_slots)
            update = held[0].state.updates
            held, signal, measured = _work_through(works[stage], held, signal)
            signal_slots = empty(signals) if stage == stages - 1 else pack(signals, stage + 1, signal)
            padding = ((0, deepest - len(measured)), (0, 0))
            table = jnp.pad(_table(measured, losses), padding, constant_values=jnp.nan)
            return varying((pack(layout, stage, held, into=held_slots), signal_slots, update, table), axes)

        return run

    def idle(held_slots, signal_slots, belt):
        nothing = jnp.full((deepest, losses), jnp.nan, jnp.float32)
        return varying((held_slots, empty(signals), jnp.int32(-1), nothing), axes)

    branches = [*map(branch, range(stages)), idle]

    def program(held, signal, full, rows, valid):
        stage = jax.lax.axis_index(stage_axis)
        rows = jax.tree.map(lambda x: x[:, 0], rows)

        def tick(carry, time):
            held, signal, full, belt = carry
            belt = jax.lax.cond(
                time % stages == 0, lambda: jax.tree.map(lambda x: x[time // stages], rows), lambda: belt
            )
            full = jnp.where(stage == 0, time < valid, full)
            held, signal, *measured = jax.lax.switch(
                jnp.where(full, stage, stages), branches, held, signal, belt
            )
            full = full & (stage < stages - 1)  # the top stage hands nothing on
            if stages > 1:
                signal, full = jax.lax.ppermute((signal, full), stage_axis, upwards)
                belt = jax.lax.ppermute(belt, stage_axis, downwards)
            return (held, signal, full, belt), measured

        belt = jax.tree.map(lambda x: x[0], rows)
        carry = varying((*jax.tree.map(lambda x: x[0, 0], (held, signal, full)), belt), axes)
        (held, signal, full, _), measured = jax.lax.scan(tick, carry, jnp.arange(number))
        state = jax.tree.map(lambda x: x[None, None], (held, signal, full))
        return state, jax.tree.map(lambda x: x[:, None, None], tuple(measured))

    return program


def _work_through(works: Sequence[Work], held: Sequence[Held], signal: Signal):
    after, measured = [], []
    for work, own in zip(works, held, strict=True):
        own, signal, losses = work(own, signal)
        after.append(own)
        measured.append(losses)
    return tuple(after), signal, measured


def _table(measured: Sequence[dict[str, jax.Array]], width: int) -> jax.Array:
    """Losses `(components, width)` in the order of their sorted names, NaN where a component has fewer."""
    rows = [[losses[name].astype(jnp.float32) for name in sorted(losses)] for losses in measured]
    return jnp.stack([jnp.stack([*row, *[jnp.float32(jnp.nan)] * (width - len(row))]) for row in rows])
