"""What the work of each component on one micro-batch costs: FLOPs and bytes by XLA's accounting, seconds by a clock.

Every component is compiled by itself, as the engines compile it within their programs, and none of it needs the
devices of a pipeline. Components of one shape, as in a residual network, are one program, which is compiled and
measured once: their costs are equal.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.chain import signal_shapes
from al_jax.engines import exact as exactness
from al_jax.engines.messages import make_workers
from al_jax.engines.packing import bytes_of
from al_jax.engines.update import Held, Slices, Transformations, draw_component, hold
from al_jax.types import Batch, Network, PyTree, Signal

RUNS, ENOUGH = 7, 5.0  # updates of one component that are timed; fewer where they take longer than so many seconds
# The same operations and buffers, compiled twice as fast.
UNOPTIMISED: dict[str, Any] = {"xla_backend_optimization_level": 0}

Progress = Callable[[int, int], None]  # is told the number of what is begun, from 1, and of how many


class Cost(NamedTuple):
    """What one component takes for one micro-batch: forward, backward and its optimizer.

    Attributes:
      flops: floating-point operations of the compiled program.
      seconds: the median of several runs, None where nothing was measured.
      temporaries: bytes for activations, gradients and what the component hands up.
    """

    flops: float
    seconds: float | None
    temporaries: int


class Profile(NamedTuple):
    """A network as its engine sees it on one device of each stage, one entry for each component.

    Attributes:
      costs: of its work.
      held: what the engine holds between two micro-batches, as shapes.
      entering: the signals into the components, as shapes; the first is the micro-batch.
      told: what each component tells the one below, as shapes; () where nobody listens.
    """

    costs: tuple[Cost, ...]
    held: tuple[Held, ...]
    entering: tuple[Signal, ...]
    told: tuple[PyTree, ...]

    @property
    def work(self) -> tuple[float, ...]:
        """What each component takes: seconds where they were measured, FLOPs otherwise."""
        return tuple(cost.flops if cost.seconds is None else cost.seconds for cost in self.costs)

    @property
    def sent(self) -> tuple[int, ...]:
        """Bytes of the signal that each component but the top one hands up."""
        return tuple(map(bytes_of, self.entering[1:]))


def profile(
    network: Network,
    optimizers: Transformations,
    batch: Batch,
    *,
    shards: int = 1,
    accumulate: int = 1,
    measure_on: jax.Device | None = None,
    exact: bool = False,
    progress: Progress = lambda number, of: None,
) -> Profile:
    """Compiles the work of every component, and measures it where a device is given.

    Args:
      network: with the preparation of images.
      optimizers: of its components.
      batch: shapes of the micro-batch that one device sees.
      shards: slices of it.
      accumulate: micro-batches for one update.
      measure_on: where to run each component, for some seconds; nothing runs without it.
      exact: whether the engine will compile under `exact`.
      progress: called before each component is compiled.

    Raises:
      ValueError: the components do not fit together.
    """
    entering, _ = signal_shapes(network, batch)
    workers = make_workers(network, optimizers, accumulate, Slices(shards))
    key = jax.eval_shape(lambda: jax.random.key(0))
    found: dict[str, Cost] = {}
    costs, states, told = [], [], []
    of_each = zip(network.components, optimizers, workers, entering, strict=True)
    for number, (part, optimizer, worker, signal) in enumerate(of_each, 1):
        progress(number, len(workers))

        def draw(key, part=part, optimizer=optimizer, signal=signal):
            return hold(draw_component(part, optimizer, key, signal), accumulate)

        held = jax.eval_shape(draw, key)
        lowered = jax.jit(worker.work, donate_argnums=0).lower(held, signal)
        if (text := lowered.as_text()) not in found:
            options: Any = exactness.compiler_options(exact) if measure_on else UNOPTIMISED
            compiled = lowered.compile(options)
            seconds = _seconds(compiled, draw, signal, accumulate, measure_on) if measure_on else None
            found[text] = _cost(compiled, seconds)
        costs.append(found[text])
        states.append(held)
        told.append(jax.eval_shape(worker.say, held) if worker.heard else ())
    return Profile(tuple(costs), tuple(states), entering, tuple(told))


def _cost(compiled: jax.stages.Compiled, seconds: float | None) -> Cost:
    memory: Any = compiled.memory_analysis()
    operations: Any = compiled.cost_analysis()
    handed_up = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Cost(operations["flops"], seconds, memory.temp_size_in_bytes + handed_up)


def _seconds(compiled: jax.stages.Compiled, draw, signal: Signal, accumulate: int, device: jax.Device) -> float:
    """The median time for a micro-batch of random numbers, over updates that follow each other."""
    with jax.default_device(device):
        held = jax.jit(draw, compiler_options=UNOPTIMISED)(jax.random.key(0))
        signal = jax.device_put(jax.tree.map(_random, signal), device)
        held, *_ = jax.block_until_ready(compiled(held, signal))  # the first run touches memory for the first time
        times: list[float] = []
        while len(times) < RUNS and sum(times) < ENOUGH:
            begun = time.perf_counter()
            for _ in range(accumulate):  # micro-batches, of which one is followed by the optimizer's step
                held, *_ = compiled(held, signal)
            jax.block_until_ready(held)
            times.append(time.perf_counter() - begun)
    return statistics.median(times) / accumulate


def _random(shape: jax.ShapeDtypeStruct) -> np.ndarray:
    """Numbers from 0 to 1, bytes of any value; other integers are 0, which is a label of every data set."""
    draw = np.random.default_rng(0)
    if jnp.issubdtype(shape.dtype, jnp.inexact):
        return draw.random(shape.shape, np.float32).astype(shape.dtype)
    if shape.dtype == np.uint8:
        return draw.integers(0, 256, shape.shape, np.uint8)
    return np.zeros(shape.shape, shape.dtype)
