"""Pipelines of backpropagation under `shard_map`, with the machinery of `al.pipelined`: leaf slots, a switch that runs
the stage's own branch alone, and one `ppermute` a tick and direction.

GPipe: the micro-batches of an update go forward, then all go backward, then the optimizer steps. With one micro-batch
it is naive model parallelism. Mixed versions: every tick brings a stage a batch to go forward and another to go
backward, whose gradient updates the stage at once; so a backward pass meets parameters that have changed since its
forward pass, and this computes something else than backpropagation.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from al_jax.engines.packing import Layout, empty, in_place_layout, pack, ranked_layout, unpack, view
from al_jax.engines.placement import AXES
from al_jax.engines.program import after, once_if
from al_jax.engines.varying import varying
from benchmarks.pipeline.passes import Passes

STAGE = AXES[0]


class Layouts(NamedTuple):
    """How stages pack what they hold, `(params, opt_state)`, their gradients, what enters them, and what waits.

    The last is known only inside `shard_map`: there constants of the forward pass become residuals of their own.
    """

    held: Layout
    gradients: Layout
    signals: Layout
    waiting: Layout | None = None


class Moving(NamedTuple):
    """What changes within an update: buffers of what waits, gradients so far, the signal, the loss."""

    waiting: tuple[jax.Array, ...]
    gradients: tuple[jax.Array, ...]
    signal: tuple[jax.Array, ...]
    loss: jax.Array


def layouts_of(held: Sequence[Any], passes: Sequence[Passes]) -> Layouts:
    return Layouts(
        in_place_layout(held),
        in_place_layout([params for params, _ in held]),
        ranked_layout([own.entering for own in passes]),
    )


def _with_waiting(layouts: Layouts, passes: Sequence[Passes], held, image: jax.Array, label: jax.Array) -> Layouts:
    """The layouts with that of what waits between a forward and a backward pass on such a micro-batch."""

    def kept(stage):
        params, _ = unpack(layouts.held, stage, held)
        x = image if stage == 0 else unpack(layouts.signals, stage, varying(empty(layouts.signals), AXES))
        return passes[stage].forward(params, x, label)[1]

    return layouts._replace(waiting=ranked_layout([jax.eval_shape(lambda s=s: kept(s)) for s in range(len(passes))]))


def gpipe(passes: Sequence[Passes], layouts: Layouts, optimizer: optax.GradientTransformation, number: int) -> Callable:
    """`(held, batches) -> (held, losses)` over updates of `number` micro-batches, `(N, number, b, ...)`."""
    stages = len(passes)

    def update(layouts, carry, batch):
        held, waiting = carry
        here = jax.lax.axis_index(STAGE)

        def forward(stage, m, moving):
            params, _ = unpack(layouts.held, stage, held)
            x = batch["image"][m] if stage == 0 else unpack(layouts.signals, stage, moving.signal)
            y, kept = passes[stage].forward(params, x, batch["label"][m])
            return _forwarded(layouts, stage, stages, m, y, kept, moving, 1 / number)

        def backward(stage, m, moving):
            gradients, signal = _backward(passes, layouts, held, stage, m, batch["label"][m], moving, 1 / number)
            before = unpack(layouts.gradients, stage, moving.gradients)
            total = pack(layouts.gradients, stage, jax.tree.map(jnp.add, before, gradients), into=moving.gradients)
            return varying(moving._replace(gradients=total, signal=signal), AXES)

        def ticks(work, offset, order, moving, shift):
            def tick(moving, time):
                m = time - offset
                runs = (m >= 0) & (m < number)
                for stage in range(stages):
                    run = functools.partial(work, stage, order(jnp.clip(m, 0, number - 1)))
                    moving = _on(stage, here, runs, run, layouts.gradients, moving)
                return moving._replace(signal=_shift(moving.signal, stages, shift)), None

            return jax.lax.scan(tick, moving, jnp.arange(number + stages - 1))[0]

        moving = varying(_nothing(layouts)._replace(waiting=waiting), AXES)
        moving = ticks(forward, here, lambda m: m, moving, 1)
        moving = ticks(backward, stages - 1 - here, lambda m: number - 1 - m, moving, -1)
        for stage in range(stages):

            def step(held, stage=stage):
                return _step(layouts, optimizer, stage, held, unpack(layouts.gradients, stage, moving.gradients))

            held = jax.tree.map(jnp.ravel, once_if(here == stage, step, view(layouts.held, stage, held)))
        return (held, moving.waiting), moving.loss

    def run(held, batches):
        own = _with_waiting(layouts, passes, held, batches["image"][0, 0], batches["label"][0, 0])
        carry = held, varying(_buffers(own, number), AXES)
        (held, _), losses = jax.lax.scan(functools.partial(update, own), carry, batches)
        return held, losses

    return _program(run)


def mixed(passes: Sequence[Passes], layouts: Layouts, optimizer: optax.GradientTransformation) -> Callable:
    """`(held, batches) -> (held, losses)` over updates `(N, 1, B, ...)`, filling and draining included."""
    stages = len(passes)
    depth = 2 * stages - 1  # batches on their way up and down again through a stage

    def run(held, batches):
        return train(
            _with_waiting(layouts, passes, held, batches["image"][0, 0], batches["label"][0, 0]), held, batches
        )

    def train(layouts, held, batches):
        number, here = len(batches["label"]), jax.lax.axis_index(STAGE)

        def forward(stage, m, carry):
            held, moving, down = carry
            params, _ = unpack(layouts.held, stage, held)
            x = batches["image"][m, 0] if stage == 0 else unpack(layouts.signals, stage, moving.signal)
            y, kept = passes[stage].forward(params, x, batches["label"][m, 0])
            return held, _forwarded(layouts, stage, stages, m % depth, y, kept, moving, 1), down

        def backward(stage, m, carry):
            held, moving, down = carry
            of_above = moving._replace(signal=down)
            label = batches["label"][m, 0]
            gradients, down = _backward(passes, layouts, held, stage, m % depth, label, of_above, 1)
            return varying((_step(layouts, optimizer, stage, held, gradients), moving, down), AXES)

        def tick(carry, time):
            for stage in range(stages):
                # The last stage turns round at once; the others first finish what comes back.
                works = [(forward, time - stage), (backward, time - 2 * (stages - 1) + stage)]
                for work, m in works if stage == stages - 1 else works[::-1]:
                    due = functools.partial(work, stage, jnp.clip(m, 0, number - 1))
                    carry = _on(stage, here, (m >= 0) & (m < number), due, layouts.held, carry)
            held, moving, down = carry
            up, down = after(_known(held, moving.signal, down), (moving.signal, down))
            moving = moving._replace(signal=_shift(up, stages, 1))
            return (held, moving, _shift(down, stages, -1)), moving.loss

        moving = _nothing(layouts)._replace(waiting=_buffers(layouts, depth), gradients=())
        carry = varying((held, moving, empty(layouts.signals)), AXES)
        (held, _, _), losses = jax.lax.scan(tick, carry, jnp.arange(number + 2 * (stages - 1)))
        return held, losses

    return _program(run)


def _program(run: Callable) -> Callable:
    """What `shard_map` maps: state `(1, 1, ...)` on each device, batches on all of them, losses `(ticks, 1, 1)`."""

    def program(held, batches):
        held = jax.tree.map(lambda x: x[0, 0], held)
        held, losses = run(held, varying(batches, AXES))
        return jax.tree.map(lambda x: x[None, None], held), losses[:, None, None]

    return program


def _buffers(layouts: Layouts, number: int) -> tuple[jax.Array, ...]:
    return tuple(jnp.zeros((number, *slot.shape), slot.dtype) for slot in layouts.waiting.slots)


def _nothing(layouts: Layouts) -> Moving:
    gradients = tuple(jnp.zeros(slot.shape, slot.dtype) for slot in layouts.gradients.slots)
    return Moving((), gradients, empty(layouts.signals), jnp.float32(0))


def _on(stage: int, here: jax.Array, runs: jax.Array, run: Callable, layout: Layout, carry):
    """`run(carry)` on one stage where it is due, with the slots that it updates in place in the shape of its leaves."""

    def shaped(tree, change):
        if isinstance(tree, Moving):
            return tree._replace(gradients=change(tree.gradients)) if tree.gradients else tree
        held, *rest = tree
        return (change(held), *rest)

    carry = shaped(carry, lambda slots: view(layout, stage, slots))
    carry = once_if(runs & (here == stage), run, carry)
    return shaped(carry, lambda slots: jax.tree.map(jnp.ravel, slots))


def _forwarded(layouts: Layouts, stage: int, stages: int, slot, y, kept, moving: Moving, share: float) -> Moving:
    waiting = list(moving.waiting)
    for place, leaf in zip(layouts.waiting.places[stage], kept, strict=True):
        waiting[place] = jax.lax.dynamic_update_slice(waiting[place], leaf.reshape(1, -1), (slot, 0))
    last = stage == stages - 1
    signal = moving.signal if last else pack(layouts.signals, stage + 1, y)
    loss = moving.loss + share * y if last and share != 1 else y if last else moving.loss
    return varying(Moving(tuple(waiting), moving.gradients, signal, loss), AXES)


def _backward(passes, layouts: Layouts, held, stage: int, slot, label, moving: Moving, share: float):
    """Gradients of a stage's parameters, and of what entered it as the signal for the stage below."""
    params, _ = unpack(layouts.held, stage, held)
    shapes = zip(layouts.waiting.places[stage], layouts.waiting.leaves[stage], strict=True)
    kept = [
        jax.lax.dynamic_slice(moving.waiting[place], (slot, 0), (1, leaf.size)).reshape(leaf.shape)
        for place, leaf in shapes
    ]
    last = stage == len(passes) - 1
    dy = varying(jnp.float32(share), AXES) if last else unpack(layouts.signals, stage + 1, moving.signal)
    gradients, dx = passes[stage].backward(params, kept, label, dy)
    return gradients, moving.signal if stage == 0 else pack(layouts.signals, stage, dx)


def _step(layouts: Layouts, optimizer, stage: int, held, gradients):
    params, opt_state = unpack(layouts.held, stage, held)
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return varying(pack(layouts.held, stage, (optax.apply_updates(params, updates), opt_state), into=held), AXES)


def _known(*made: tuple[jax.Array, ...]) -> jax.Array:
    """True, but XLA does not see it before it has all of these."""
    first = [slots[0].reshape(-1)[0] for slots in made if slots]
    return jnp.stack([(x == x) | (x != x) for x in first]).all()


def _shift(signal, stages: int, by: int):
    """Signals move one stage up or down."""
    return jax.lax.ppermute(signal, STAGE, [(stage, (stage + by) % stages) for stage in range(stages)])
