"""What every device of a pipeline runs: a scan over ticks, in each of which it does its own block's work."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from al_jax.engines.messages import Worker, say, work_through
from al_jax.engines.packing import Layout, empty, pack, unpack, view
from al_jax.engines.varying import varying


class Layouts(NamedTuple):
    """How the stages' components are packed, what each says to the stage below, and the signals that enter it."""

    held: Layout
    told: Layout
    signals: Layout


def make_program(
    workers: Sequence[Sequence[Worker]], layouts: Layouts, number: int, losses: int, axes: tuple[str, str]
) -> Callable:
    """Builds `(held, told, signal, full, rows, valid) -> ((held, told, signal, full), (updates, losses))`.

    It runs inside `shard_map` over the axes (stage, data). Arrays of the state have those axes in front, both 1 here.

    Args:
      workers: for each stage those of its components.
      layouts: how what the stages hold and exchange is packed.
      number: M, the micro-batches of a call, one a tick.
      losses: the largest number of losses of a component.
      axes: names of the mesh axes.

    Returns:
      A function of the packed state, `rows` `(ceil(M / stages), 1, B, ...)`, of which this device feeds the
      micro-batches m ≡ stage modulo the number of stages, and the number of valid micro-batches. It measures per tick
      the number of the update `(M,)`, -1 without work, and the losses `(M, components, losses)`, NaN without work.
    """
    stages, deepest = len(workers), max(map(len, workers))
    stage_axis = axes[0]
    upwards = [(stage, (stage + 1) % stages) for stage in range(stages)]
    downwards = [(to, source) for source, to in upwards]

    def turn(stage: int, belt, carry):
        held_slots, told, signal_slots, _, _ = carry
        held = unpack(layouts.held, stage, held_slots)
        signal = belt if stage == 0 else unpack(layouts.signals, stage, signal_slots)
        update = held[0].state.updates
        held, signal, measured = work_through(workers[stage], held, signal)
        told = pack(layouts.told, stage, say(workers[stage], held), into=told)
        signal_slots = empty(layouts.signals) if stage == stages - 1 else pack(layouts.signals, stage + 1, signal)
        padding = ((0, deepest - len(measured)), (0, 0))
        table = jnp.pad(_table(measured, losses), padding, constant_values=jnp.nan)
        return varying((pack(layouts.held, stage, held, into=held_slots), told, signal_slots, update, table), axes)

    def listen(stage: int, told, held_slots):
        *lower, top = unpack(layouts.held, stage, held_slots)
        top = workers[stage][-1].listen(top, unpack(layouts.told, stage + 1, told))
        return varying(pack(layouts.held, stage, (*lower, top), into=held_slots), axes)

    def hear(held, told, full, here):
        """The top component of each stage hears of the next stage, which speaks in a tick in which it works."""
        listening = [stage for stage in range(stages - 1) if workers[stage][-1].listens]
        if not listening:
            return held
        told, speaks = jax.lax.ppermute((told, full), stage_axis, downwards)
        for stage in listening:
            held = view(layouts.held, stage, held)
            held = once_if(speaks & (here == stage), functools.partial(listen, stage, told), held)
        return jax.tree.map(jnp.ravel, held)

    def program(held, told, signal, full, rows, valid):
        here = jax.lax.axis_index(stage_axis)
        rows = jax.tree.map(lambda x: x[:, 0], rows)

        def tick(carry, time):
            held, told, signal, full, belt = carry
            row = jax.tree.map(lambda x: x[time // stages], rows)
            belt = jax.tree.map(lambda new, old: jnp.where(time % stages == 0, new, old), row, belt)
            full = jnp.where(here == 0, time < valid, full)
            held = hear(held, told, full, here)
            nothing = jnp.full((deepest, losses), jnp.nan, jnp.float32)
            carry = varying((held, told, signal, jnp.int32(-1), nothing), axes)
            for stage in range(stages):
                carry = (view(layouts.held, stage, carry[0]), *carry[1:])
                carry = once_if(full & (here == stage), functools.partial(turn, stage, belt), carry)
            held, told, signal, *measured = carry
            held = jax.tree.map(jnp.ravel, held)
            full = full & (here < stages - 1)  # the top stage hands nothing on
            if stages > 1:
                worked = measured[0] >= -1  # the number of an update, so always true, but XLA does not know
                full, belt = after(worked, (full, belt))
                signal, full = jax.lax.ppermute((signal, full), stage_axis, upwards)
                belt = jax.lax.ppermute(belt, stage_axis, downwards)
            return (held, told, signal, full, belt), measured

        belt = jax.tree.map(lambda x: x[0], rows)
        carry = varying((*jax.tree.map(lambda x: x[0, 0], (held, told, signal, full)), belt), axes)
        (*state, _), measured = jax.lax.scan(tick, carry, jnp.arange(number))
        state = jax.tree.map(lambda x: x[None, None], tuple(state))
        return state, jax.tree.map(lambda x: x[:, None, None], tuple(measured))

    return program


def after(done: jax.Array, moved):
    """What is to be sent, which XLA cannot send before it knows `done`, a scalar that holds whenever work is done.

    XLA sends what is ready as soon as it can, in the middle of a tick's work, and a device then waits there until the
    others come so far; at the end of a tick they come together. `jax.lax.optimization_barrier` orders nothing on CPU.
    """

    return jax.tree.map(lambda x: jnp.where(done, x, jnp.zeros_like(x)), moved)


def once_if(condition: jax.Array, run: Callable, carry):
    """`run(carry)` where the condition holds, else `carry`, in place.

    A loop of one turn or none does what `lax.cond` does, but XLA copies the outputs of a conditional, here all
    parameters and optimizer state in every tick, while it updates what a loop carries in place.
    """

    def body(operand):
        return jnp.zeros_like(condition), run(operand[1])

    return jax.lax.while_loop(lambda operand: operand[0], body, (condition, carry))[1]


def _table(measured: Sequence[dict[str, jax.Array]], width: int) -> jax.Array:
    """Losses `(components, width)` in the order of their sorted names, NaN where a component has fewer."""
    rows = [[losses[name].astype(jnp.float32) for name in sorted(losses)] for losses in measured]
    return jnp.stack([jnp.stack([*row, *[jnp.float32(jnp.nan)] * (width - len(row))]) for row in rows])
