"""Which component works on which micro-batch, when and on which device, as data.

Time is counted in forward passes of one component. A backward pass takes twice as long, and a local update of
Associated Learning (AL) as long as both. Not counted are AL's bridge and autoencoder, communication, and the
optimizer's step.

    >>> schedule = associated(components=4, devices=2, micro_batches=3)
    >>> schedule[2]
    Task(device=1, start=6, duration=3, kind='local', component=2, micro_batch=0, update=0)
    >>> makespan(schedule), utilisation(schedule)
    (24, 0.75)
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from al_jax.engines.partition import blocks_of, even_partition

FORWARD, BACKWARD = 1, 2
LOCAL = FORWARD + BACKWARD


class Task(NamedTuple):
    """A stretch of work of one component on one micro-batch. Everything is numbered from 0.

    Attributes:
      device: where it runs.
      start: when it starts, in forward passes of one component.
      duration: how long it takes, in the same unit.
      kind: "forward", "backward", or "local" for forward, loss, backward and update in one.
      component: whose work it is, counted from the input upwards.
      micro_batch: what it works on.
      update: the update that it contributes to.
    """

    device: int
    start: float
    duration: float
    kind: Literal["forward", "backward", "local"]
    component: int
    micro_batch: int
    update: int


Schedule = Sequence[Task]


def associated(
    components: int,
    devices: int,
    micro_batches: int,
    partition: Sequence[int] | None = None,
    accumulate: int = 1,
    costs: Sequence[float] | None = None,
) -> Schedule:
    """Associated Learning: every component updates itself at once, so nothing ever waits for a backward pass.

    Devices move in step. A tick is as long as the largest block of components needs, and device d works on
    micro-batch m in tick m + d: one bubble of `devices - 1` ticks in a whole run (Kao and Chen,
    arXiv:1906.05560).

    Args:
      components: K, the number of components.
      devices: p, at most K.
      micro_batches: M, how many to train on.
      partition: the number of components on each device, in order; as equal as possible by default.
      accumulate: micro-batches for one update.
      costs: how long each component takes for a micro-batch, in any unit; all equally long by default.

    Raises:
      ValueError: if a number is out of range or the partition or the costs do not fit.
    """
    sizes = _block_sizes(components, devices, micro_batches)
    _check_accumulate(accumulate)
    if partition is not None:
        sizes = tuple(partition)
    if len(sizes) != devices or min(sizes) < 1 or sum(sizes) != components:
        raise ValueError(
            f"partition {sizes} must give each of {devices} devices at least one of {components} components."
        )
    costs = [LOCAL] * components if costs is None else costs
    if len(costs) != components:
        raise ValueError(f"costs must name a time for each of {components} components, got {len(costs)}.")
    blocks = blocks_of(range(components), sizes)
    tick = max(sum(costs[k] for k in block) for block in blocks)
    return tuple(
        Task(device, tick * (m + device) + sum(costs[block[0] : k]), costs[k], "local", k, m, m // accumulate)
        for m in range(micro_batches)
        for device, block in enumerate(blocks)
        for k in block
    )


def observed(updates: ArrayLike, partition: Sequence[int], accumulate: int = 1) -> Schedule:
    """What a pipeline did, from the log of its ticks, in the ticks of `associated`.

    Args:
      updates: int `(K, ticks)`, the update each component worked on in each tick and -1 where it did not, as
        `Metrics.updates` has it; joined along the ticks for several calls.
      partition: the number of components on each device, in order.
      accumulate: micro-batches for one update.

    Raises:
      ValueError: if the partition is not of these components, or `accumulate` is out of range.
    """
    updates = np.asarray(updates)
    _check_accumulate(accumulate)
    if min(partition, default=0) < 1 or sum(partition) != len(updates):
        raise ValueError(
            f"partition {tuple(partition)} must give every device at least one of the {len(updates)} components of "
            "the log, and all of them a device."
        )
    devices = [(device, place) for device, size in enumerate(partition) for place in range(size)]
    tick, tasks = LOCAL * max(partition), []
    for (component, log), (device, place) in zip(enumerate(updates), devices, strict=True):
        worked = np.flatnonzero(log >= 0)
        for micro_batch, time in enumerate(worked, start=int(log[worked[0]]) * accumulate if len(worked) else 0):
            start = tick * int(time) + LOCAL * place
            tasks.append(Task(device, start, LOCAL, "local", component, micro_batch, int(log[time])))
    return tuple(tasks)


def backprop(components: int, devices: int, micro_batches: int) -> Schedule:
    """Backpropagation on a network cut over devices, one working at a time (naive model parallelism).

    Each micro-batch is an update. Arguments and errors are those of `gpipe`.
    """
    return gpipe(components, devices, micro_batches, per_update=1)


def gpipe(components: int, devices: int, micro_batches: int, per_update: int) -> Schedule:
    """GPipe: all micro-batches of an update go forward, then all go backward, and the pipeline drains.

    Equal blocks idle for (p - 1) / (per_update + p - 1) of the time (Huang et al., arXiv:1811.06965).

    Args:
      components, devices, micro_batches: as for `associated`; blocks are as equal as possible.
      per_update: how many micro-batches make an update; divides `micro_batches`.

    Raises:
      ValueError: if a number is out of range.
    """
    sizes = _block_sizes(components, devices, micro_batches)
    if per_update < 1 or micro_batches % per_update:
        raise ValueError(f"per_update must divide micro_batches = {micro_batches}, got {per_update}.")
    device_of = [device for device, size in enumerate(sizes) for _ in range(size)]
    upwards = range(components)
    passes = []
    for first in range(0, micro_batches, per_update):
        group = range(first, first + per_update)
        passes += [("forward", FORWARD, m, k) for m in group for k in upwards]
        passes += [("backward", BACKWARD, m, k) for m in reversed(group) for k in reversed(upwards)]
    # Every pass starts when its device is free and the pass before it on the same micro-batch has ended.
    free, ready = [0] * devices, [0] * micro_batches
    tasks = []
    for kind, duration, m, k in passes:
        device = device_of[k]
        start = max(free[device], ready[m])
        free[device] = ready[m] = start + duration
        tasks.append(Task(device, start, duration, kind, k, m, m // per_update))
    return tuple(tasks)


def makespan(schedule: Schedule) -> float:
    """The time from the start to the end of the last task."""
    return max((task.start + task.duration for task in schedule), default=0)


def units(schedule: Schedule, step: int = 0) -> int:
    """How long it takes in the units of papers and slides: each task one, each as early as it may be.

    Args:
      schedule: of `associated`, `backprop` or `gpipe`.
      step: units of the optimizer after all passes of an update, during which devices wait. A local task has its own.
    """
    free, ready, steps = {}, {}, set()
    for task in sorted(schedule, key=lambda task: task.start):
        end = 1 + max(free.get(task.device, 0), ready.get(task.micro_batch, 0))
        free[task.device] = ready[task.micro_batch] = end
        steps |= {task.update} if task.kind == "backward" else set()
    return max(free.values()) + step * len(steps)


def utilisation(schedule: Schedule) -> float:
    """The part of all devices' time, from 0 to 1, in which they work.

    Raises:
      ValueError: if the schedule takes no time.
    """
    if not makespan(schedule):
        raise ValueError("a schedule that takes no time has no utilisation: give its components costs above 0.")
    return sum(task.duration for task in schedule) / (devices_of(schedule) * makespan(schedule))


def devices_of(schedule: Schedule) -> int:
    """The number of devices, from the first to the last that works."""
    return 1 + max(task.device for task in schedule)


def _check_accumulate(accumulate: int) -> None:
    if accumulate < 1:
        raise ValueError(f"accumulate must be at least 1, got {accumulate}.")


def _block_sizes(components: int, devices: int, micro_batches: int) -> tuple[int, ...]:
    """How many components each device gets: as equal as possible, the larger blocks first."""
    if components < 1:
        raise ValueError(f"components must be at least 1, got {components}.")
    if not 1 <= devices <= components:
        raise ValueError(f"devices must be between 1 and components = {components}, got {devices}.")
    if micro_batches < 1:
        raise ValueError(f"micro_batches must be at least 1, got {micro_batches}.")
    return even_partition(components, devices)
