"""The pipelined engine: components in contiguous blocks on p devices, micro-batches rotating through.

Component i's update u needs its own parameters after u - 1 updates and the signal that component i-1 computed before
*that* one's update u. A pipeline provides exactly this, so nothing is stale and nothing is stashed; it is filled once
and drained once. Every device runs the same program under `shard_map` (`al_jax/engines/program.py`), and one tick is:

  1. the feed belt brings a micro-batch to stage 0, the signal slots have brought every other stage its signal;
  2. where components listen, one `ppermute` brings each stage what the next one says (`al_jax/engines/messages.py`);
  3. each device does its own block's work alone: losses, gradients and optimizer on the components' real leaves;
  4. one `ppermute` moves signals up a stage, another moves the belt down.

A `full` flag travels with each signal: a stage works if and only if its flag is set, so filling, draining, resuming
and a short tail are one program. What is empty holds NaN.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from al_jax.chain import check_cuttable, signal_shapes
from al_jax.components import with_prepare
from al_jax.engines import checks
from al_jax.engines import exact as exactness
from al_jax.engines.messages import make_workers, say
from al_jax.engines.optimizers import Optimizer, optimizers_of
from al_jax.engines.packing import Layout, Slots, empty, in_place_layout, pack, ranked_layout, unpack
from al_jax.engines.partition import blocks_of, even_partition
from al_jax.engines.placement import AXES, fed_here, feed, gather, home, spread
from al_jax.engines.program import Layouts, make_program
from al_jax.engines.update import Slices, copied, drawing, hold
from al_jax.types import Batch, Metrics, Network, Prepare, Signal, Trainer

Shapes = tuple[tuple[str, jax.ShapeDtypeStruct], ...]  # a dict of shapes, hashable


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class InFlight:
    """The state between two calls. Each array has the leading axes (stages, data).

    Attributes:
      held: packed state of each stage's components.
      told: packed, what each stage says next to the one below it.
      signal: packed signals on their way into each stage; () before the first call.
      full: whether there is a signal.
      layout: how `held` is packed.
      telling: how `told` is.
      fed: the shapes of the last call's batches; None before the first.
      idle: ticks since a micro-batch entered, the same in every process; None before the first.
    """

    held: Slots
    told: Slots
    signal: Slots
    full: jax.Array
    layout: Layout = dataclasses.field(metadata={"static": True})
    telling: Layout = dataclasses.field(metadata={"static": True})
    fed: Shapes | None = dataclasses.field(default=None, metadata={"static": True})
    idle: int | None = dataclasses.field(default=None, metadata={"static": True})


def pipelined(
    network: Network,
    optimizer: Optimizer,
    devices: Sequence[jax.Device],
    *,
    data: int = 1,
    partition: Sequence[int] | None = None,
    shards: int = 1,
    accumulate: int = 1,
    prepare: Prepare | None = None,
    exact: bool = False,
) -> Trainer:
    """Trains the components of a network on several devices at once, each device on a different micro-batch.

    The result is the sequential engine's, bit for bit under `exact`. `metrics.updates` tells for each loss which update
    it belongs to, since the upper components are behind the lower ones until `flush`. What is empty holds NaN, at which
    `jax_debug_nans` stops: look for a NaN of the network's own with `al.sequential`.

    Args:
      network: what a rule or `al.compose` made.
      optimizer: one optax transformation for all components, or a function of the component's index that gives one.
        Each is given the value of its component's objective, but cannot evaluate it anew, as line searches do. One that
        branches to constants by `lax.cond`, as optax's `reduce_on_plateau` does, fails JAX's check of `shard_map`.
      devices: `stages * data` of them, stage by stage. A CPU counts as one, unless
        `jax.config.update("jax_num_cpu_devices", p)` makes it p, before anything is computed.
      data: devices in each stage that share its micro-batch.
      partition: the number of components of each stage; as even as possible by default.
      shards: slices of a micro-batch, a multiple of `data`. Batch norm sees a slice; gradients are averaged in order.
      accumulate: micro-batches for one update, their gradients averaged in order.
      prepare: `(image, key, train) -> image`, applied to the batch's images inside jit.
      exact: compile so that every engine computes the same bits (CPU, float32; see `al_jax.engines.exact`).

    Raises:
      ValueError: more stages than components, or a partition, `shards` or `accumulate` that does not fit.
    """
    stages = checks.check_devices(devices, data, len(network.components))
    checks.check_cut(shards, data, accumulate)
    if partition is None:
        partition = even_partition(len(network.components), stages)
    sizes = checks.check_partition(partition, len(network.components), stages)
    network = with_prepare(network, prepare)
    optimizers = optimizers_of(network, optimizer)
    draw = drawing(network, optimizers)
    slices = Slices(shards, data, "data" if data > 1 else None)
    workers = blocks_of(make_workers(network, optimizers, accumulate, slices), sizes)
    mesh, here = Mesh(np.asarray(devices).reshape(stages, data), AXES), home(devices)
    options = exactness.compiler_options(exact)
    packed = jax.jit(pack, static_argnums=(0, 1))

    def init(key, batch):
        checks.check_concrete(key)
        checks.check_batch(batch, shards)
        return place(draw(key, batch))

    def place(components):
        checks.check_components(components, network, optimizers)
        blocks = blocks_of([hold(state, accumulate) for state in components], sizes)
        said = [say(own, block) for own, block in zip(workers, blocks, strict=True)]
        layout, telling = in_place_layout(blocks), ranked_layout(said)
        held = [packed(layout, stage, block) for stage, block in enumerate(blocks)]
        told = [packed(telling, stage, message) for stage, message in enumerate(said)]
        (full,) = spread([(jnp.zeros((), bool),)] * stages, mesh)
        return InFlight(spread(held, mesh), spread(told, mesh), (), full, layout, telling)

    @functools.cache
    def plan(fed: Shapes):
        """Packing of the signals and names of the losses for batches of these shapes, as one device sees them."""
        local = {name: jax.ShapeDtypeStruct((x.shape[1] // data, *x.shape[2:]), x.dtype) for name, x in fed}
        entering, leaving = signal_shapes(network, local)
        if shards > 1:
            check_cuttable(network, entering)
        return signal_layout(entering, sizes), tuple(tuple(sorted(out[1])) for out in leaving)

    @functools.cache
    def compiled(layout: Layout, telling: Layout, fed: Shapes):
        signals, names = plan(fed)
        number = fed[0][1].shape[0]
        program = make_program(workers, Layouts(layout, telling, signals), number, max(map(len, names)), AXES)
        state, scanned = (P(*AXES),) * 4, P(None, *AXES)
        mapped = jax.shard_map(
            program, mesh=mesh, in_specs=(*state, scanned, P()), out_specs=(state, (scanned, scanned))
        )

        def run(held, told, signal, full, rows, valid):
            moving, measured = mapped(held, told, signal, full, rows, valid)
            return moving, _named(measured, names, sizes)

        # Every process reads the losses of all stages.
        shardings = (NamedSharding(mesh, P(*AXES)),) * 4, NamedSharding(mesh, P())
        return jax.jit(run, donate_argnums=(0, 1, 2, 3), out_shardings=shardings, compiler_options=options)

    def advance(state: InFlight, batches: Batch, valid: int):
        fed = tuple((name, jax.ShapeDtypeStruct(x.shape, x.dtype)) for name, x in sorted(batches.items()))
        signals, _ = plan(fed)
        fits = state.fed is not None and signals == plan(state.fed)[0]
        if not fits and in_flight(state):
            raise ValueError("micro-batches changed their shape while others are in flight: flush before")
        signal = state.signal if fits else spread([empty(signals)] * stages, mesh)
        run = compiled(state.layout, state.telling, fed)
        moving, metrics = run(state.held, state.told, signal, state.full, feed(batches, mesh), np.int32(valid))
        ticks = fed[0][1].shape[0]
        idle = ticks - valid if valid else None if state.idle is None else state.idle + ticks
        held, told, signal, full = moving
        return InFlight(held, told, signal, full, state.layout, state.telling, fed, idle), metrics

    def in_flight(state):
        return state.idle is not None and state.idle < stages - 1

    def step(state, batches, valid=None):
        checks.check_concrete(state, batches)
        valid = checks.check_batches(batches, shards, accumulate, valid)
        checks.check_state(state, InFlight)
        if reads is None:  # else some rows stand for those that other processes bring
            checks.check_labels(batches, valid, network.classes)
        with checks.fitting(batches.get("image")):
            return advance(state, batches, valid)

    def flush(state):
        checks.check_state(state, InFlight)
        while in_flight(state):
            state, _ = advance(state, {name: np.zeros(x.shape, x.dtype) for name, x in state.fed or ()}, 0)
        return state

    def components(state):
        checks.check_state(state, InFlight)
        if in_flight(state):
            state = flush(copied(state))
        blocks = [unpack(state.layout, stage, slots) for stage, slots in enumerate(gather(state.held, stages))]
        return jax.device_put(tuple(held.state for block in blocks for held in block), here)

    predict_compiled = jax.jit(network.predict, static_argnames="depth")

    def predict(state, images, depth=None):
        depth = checks.check_prediction(images, depth, network.depths)
        variables = [part.variables for part in components(state)]
        with checks.fitting(images):
            return predict_compiled(variables, jax.device_put(images, here), depth=depth)

    reads = None if len(mesh.local_devices) == mesh.size else functools.partial(fed_here, mesh=mesh)
    return Trainer(init, step, flush, components, place, predict, reads)


def signal_layout(entering: Sequence[Signal], sizes: Sequence[int]) -> Layout:
    """How signals into each stage are packed; stage 0 is fed by the belt."""
    into = [block[0] for block in blocks_of(entering, sizes)]
    return ranked_layout([(), *into[1:]])  # sent every tick, so short


def _named(measured: tuple[jax.Array, jax.Array], names: Sequence[Sequence[str]], sizes: Sequence[int]) -> Metrics:
    """Gives the measured `(M, stages, data)` updates and `(M, stages, data, block, losses)` losses their names."""
    updates, table = measured
    index = [(stage, place) for stage, size in enumerate(sizes) for place in range(size)]
    losses = tuple(
        {name: table[:, stage, 0, place, column] for column, name in enumerate(own)}
        for (stage, place), own in zip(index, names, strict=True)
    )
    return Metrics(jnp.stack([updates[:, stage, 0] for stage, _ in index]), losses)
