"""One component's work on one micro-batch: forward, its own losses, their gradient, the optimizer.

Both engines run exactly this function, so that what differs between them is only where and when.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax.chain import signal_shapes
from al_jax.components import groups_of
from al_jax.engines import checks
from al_jax.types import Batch, Component, ComponentState, Network, PyTree, Signal

Transformations = tuple[optax.GradientTransformationExtraArgs, ...]


class Accumulated(NamedTuple):
    """The micro-batches since the last update: how many, the sums of their objectives and of their gradients."""

    count: jax.Array
    objective: jax.Array
    gradients: PyTree


class Held(NamedTuple):
    """What an engine holds of a component between two micro-batches; `accumulated` is () if each one is an update."""

    state: ComponentState
    accumulated: Accumulated | tuple[()]


Work = Callable[[Held, Signal], tuple[Held, Signal, dict[str, jax.Array]]]


class Slices(NamedTuple):
    """How a micro-batch is cut: `shards` slices in all, `axis` the mesh axis over whose `devices` they are spread."""

    shards: int = 1
    devices: int = 1
    axis: str | None = None


def drawing(network: Network, optimizers: Transformations) -> Callable[..., tuple[ComponentState, ...]]:
    """Makes `(key, batch) -> components`, which draws every component and compiles once for batches of one shape."""

    # Drawing is rare and its code long: compiling it thoroughly would take longer than it saves.
    @functools.partial(jax.jit, static_argnums=1, compiler_options={"xla_backend_optimization_level": 0})
    def compiled(key, shapes):
        return draw_components(network, optimizers, key, dict(shapes))

    def draw(key: jax.Array, batch: Batch) -> tuple[ComponentState, ...]:
        checks.check_key(key)
        if isinstance(key, jax.core.Tracer):  # options of a compilation are for the outermost
            return draw_components(network, optimizers, key, batch)
        shapes = jax.eval_shape(lambda batch: batch, dict(batch))
        return compiled(key, tuple(sorted(shapes.items())))

    return draw


def draw_components(
    network: Network, optimizers: Transformations, key: jax.Array, batch: Batch
) -> tuple[ComponentState, ...]:
    """The state of every component before its first update; `batch` gives shapes only."""
    signals, _ = signal_shapes(network, batch)
    return tuple(
        draw_component(part, optimizer, jax.random.fold_in(key, index), signal)
        for index, (part, optimizer, signal) in enumerate(zip(network.components, optimizers, signals, strict=True))
    )


def draw_component(part: Component, optimizer, key: jax.Array, signal: Signal) -> ComponentState:
    """The state of one component before its first update; `signal` gives shapes only."""
    key_init, key_stream = jax.random.split(key)
    example = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), signal)
    model_state = dict(part.init(key_init, example))
    params = model_state.pop("params", {})
    # Drawn as bits, so that the stream is the same threefry key whatever kind of key the user brought.
    stream = jax.random.bits(key_stream, (2,), jnp.uint32)
    if any(jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key) for leaf in jax.tree.leaves(model_state)):
        raise ValueError(
            f"the model state of {part.name} holds a typed random key, which cannot be packed or saved: keep "
            "jax.random.key_data(key) in it"
        )
    return strong(ComponentState(params, model_state, optimizer.init(params), jnp.int32(0), stream))


def strong(tree: PyTree) -> PyTree:
    """The tree without numbers of Python and weak types: an update makes both strong, so the next would trace anew."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), tree)


def copied(tree: PyTree, device: jax.Device | None = None) -> PyTree:
    """The arrays anew on a device, JAX's default one for None, as a step consumes a state.

    NumPy's are copied beforehand: on a CPU JAX would share their memory with whoever still has them.
    """
    own = jax.tree.map(lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf, tree)
    return jax.device_put(own, device, may_alias=False)


def hold(state: ComponentState, accumulate: int) -> Held:
    """The engine's view of a component that is between two updates."""
    if accumulate == 1:
        return Held(state, ())
    return Held(state, Accumulated(jnp.int32(0), jnp.float32(0), jax.tree.map(jnp.zeros_like, state.params)))


def make_work(part: Component, optimizer, accumulate: int, slices: Slices) -> Work:
    """The function `(held, signal) -> (held, signal_up, losses)` of one component.

    Args:
      part: the component.
      optimizer: an optax transformation.
      accumulate: micro-batches whose gradients are averaged, in order, into one update.
      slices: the gradient is the mean over slices, added in their order on every mesh.
    """

    def gradient(state: ComponentState, signal: Signal, key: jax.Array):
        def objective(params):
            variables = {"params": params, **state.model_state}
            signal_up, losses, model_state = part.apply(variables, signal, key, True)
            losses = {name: jnp.asarray(loss, jnp.float32) for name, loss in losses.items()}
            return _objective(losses), (signal_up, losses, model_state)

        gradients, outputs = jax.grad(objective, has_aux=True)(state.params)
        return gradients, *outputs

    def step(state: ComponentState, objective: jax.Array, gradients: PyTree) -> ComponentState:
        extra = {"value": objective, "grad": gradients}  # what some transformations ask for
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params, **extra)
        updates = _scale(part, updates)
        params = optax.apply_updates(state.params, updates)
        return state._replace(params=params, opt_state=opt_state, updates=state.updates + 1)

    def work(held: Held, signal: Signal):
        state, accumulated = held
        count = accumulated.count if accumulated else jnp.int32(0)
        key = jax.random.wrap_key_data(state.key, impl="threefry2x32")
        key = jax.random.fold_in(jax.random.fold_in(key, state.updates), count)
        gradients, signal_up, losses, model_state = _in_slices(gradient, slices, state, signal, key)
        gradients, signal_up = _together(gradients, signal_up)
        state = state._replace(model_state=model_state)
        objective = _objective(losses)
        if not accumulated:
            return Held(step(state, objective, gradients), ()), signal_up, losses
        total = jax.tree.map(jnp.add, accumulated, Accumulated(jnp.int32(1), objective, gradients))
        return _accumulate(step, accumulate, state, total), signal_up, losses

    return work


def _together(gradients: PyTree, signal: Signal) -> tuple[PyTree, Signal]:
    """The gradients and the signal, all of which wait until every gradient is computed.

    The backward pass reads a kernel a second time, for the gradient below it. Where XLA does not know that this comes
    before the kernel's update, it copies the kernel in every micro-batch. And where it does not know that the next
    component waits, it keeps the activations of all components at once, as backpropagation has to.
    `optimization_barrier` would say so, but the CPU compiler drops it too early; a condition that always holds, and
    that XLA cannot see through, says it as well.
    """
    numbers = [leaf.reshape(-1)[0] for leaf in jax.tree.leaves(gradients) if leaf.size]
    there = functools.reduce(jnp.logical_and, [(x == x) | (x != x) for x in numbers], True)

    def waiting(x):
        return jnp.where(there, x, jnp.zeros_like(x)) if jnp.issubdtype(jnp.result_type(x), jnp.inexact) else x

    return jax.tree.map(waiting, (gradients, signal))


def _scale(part: Component, updates: PyTree) -> PyTree:
    def scaled(label, group):
        rate = part.rates[label]
        if rate == 0:  # not a product, which would keep NaN
            return jax.tree.map(jnp.zeros_like, group)
        return group if rate == 1 else jax.tree.map(lambda update: rate * update, group)

    return jax.tree.map(scaled, groups_of(part.labels, updates), updates)


def _objective(losses: dict[str, jax.Array]) -> jax.Array:
    return sum(losses.values(), start=jnp.float32(0))


def _accumulate(step, accumulate: int, state: ComponentState, total: Accumulated) -> Held:
    def update():
        objective, gradients = jax.tree.map(lambda x: x / accumulate, (total.objective, total.gradients))
        nothing = jax.tree.map(jnp.zeros_like, total)._replace(count=total.count - total.count)
        return Held(step(state, objective, gradients), nothing)

    def wait():
        return Held(state, total)

    return jax.lax.cond(total.count == accumulate, update, wait)


def _in_slices(gradient, slices: Slices, state: ComponentState, signal: Signal, key: jax.Array):
    """Gradients, signal, losses and model state of a micro-batch, as means over its slices where they are means."""
    if slices.shards == 1:
        return gradient(state, signal, jax.random.fold_in(key, 0))
    here = slices.shards // slices.devices
    first = jax.lax.axis_index(slices.axis) * here if slices.axis else 0
    cut = jax.tree.map(lambda x: x.reshape(here, len(x) // here, *x.shape[1:]), signal)

    def one(operand):
        rank, slice_ = operand
        return gradient(state, slice_, jax.random.fold_in(key, rank))

    gradients, signal_up, losses, model_state = jax.lax.map(one, (first + jnp.arange(here), cut))
    signal_up = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), signal_up)
    gradients, losses, model_state = _of_all_slices((gradients, losses, model_state), slices)
    gradients, losses = jax.tree.map(_mean_in_order, (gradients, losses))
    return gradients, signal_up, losses, jax.tree.map(_agreed, model_state)


def _of_all_slices(tree: PyTree, slices: Slices) -> PyTree:
    """The values `(slices here, ...)` of the slices on this device as those of all of them."""
    if not slices.axis:
        return tree
    return jax.tree.map(lambda x: jax.lax.all_gather(x, slices.axis, tiled=True), tree)


def _mean_in_order(x: jax.Array) -> jax.Array:
    """The mean over slices, added in rank order so that every mesh gets the same bits."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return x[0]  # counters, equal in all slices
    total = x[0]
    for rank in range(1, len(x)):
        total = total + x[rank]
    return total / len(x)


def _agreed(x: jax.Array) -> jax.Array:
    """The mean over slices, but the value itself where all have the same: rounding would move what must not change."""
    return jnp.where(jnp.all(x == x[:1], axis=0), x[0], _mean_in_order(x))
