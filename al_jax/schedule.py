"""Which component works on which micro-batch, when and on which device: schedules as data, and a picture.

Time is counted in forward passes of one component. A backward pass takes twice as long, and a local update of
Associated Learning (AL) as long as both. Not counted are AL's bridge and autoencoder, communication, and the
optimizer's step.

    >>> schedule = associated(components=4, devices=2, micro_batches=3)
    >>> schedule[2]
    Task(device=1, start=6, duration=3, kind='local', component=2, micro_batch=0, update=0)
    >>> makespan(schedule), utilisation(schedule)
    (24, 0.75)

`python -m al_jax.schedule` draws Associated Learning next to backpropagation and GPipe.
"""

import argparse
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

FORWARD, BACKWARD = 1, 2
LOCAL = FORWARD + BACKWARD
UNIT = "forward passes of one component"

IDLE, INK = "#EEEEEE", "#222222"
# Boxes of forward and backward, and the number on backward. Paul Tol's "bright" scheme without its grey, safe
# for colour-blind readers (https://sronpersonalpages.nl/~pault); forward is the same colour mixed with white.
COLOURS = (
    ("#ABC2D9", "#4477AA", "white"),
    ("#F7BAC2", "#EE6677", INK),
    ("#9CC9A3", "#228833", "white"),
    ("#E8E0AB", "#CCBB44", INK),
    ("#BAE8F7", "#66CCEE", INK),
    ("#D9A3C2", "#AA3377", "white"),
)
WIDTH = 9.0  # inches
BOX = 0.86  # height of a box, where devices are 1 apart


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
    if partition is not None:
        sizes = tuple(partition)
    if len(sizes) != devices or min(sizes) < 1 or sum(sizes) != components:
        raise ValueError(
            f"partition {sizes} must give each of {devices} devices at least one of {components} components."
        )
    costs = [LOCAL] * components if costs is None else costs
    if len(costs) != components:
        raise ValueError(f"costs must name a time for each of {components} components, got {len(costs)}.")
    ends = [0, *itertools.accumulate(sizes)]
    blocks = [range(*span) for span in itertools.pairwise(ends)]
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
    """
    devices = [(device, place) for device, size in enumerate(partition) for place in range(size)]
    tick, tasks = LOCAL * max(partition), []
    for (component, log), (device, place) in zip(enumerate(np.asarray(updates)), devices, strict=True):
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
    return max(task.start + task.duration for task in schedule)


def utilisation(schedule: Schedule) -> float:
    """The part of all devices' time, from 0 to 1, in which they work."""
    return sum(task.duration for task in schedule) / (_devices(schedule) * makespan(schedule))


def figure(schedules: Mapping[str, Schedule], unit: str = UNIT) -> Figure:
    """Draws schedules, by title, on one time axis in `unit`: a row for each device, a colour for each update.

    Raises:
      ValueError: if there is nothing to draw.
    """
    if not schedules or not all(schedules.values()):
        raise ValueError("figure needs at least one schedule, each with at least one task.")
    rows = [_devices(schedule) for schedule in schedules.values()]
    end = max(map(makespan, schedules.values()))
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06, hspace=0)
    drawing = Figure(figsize=(WIDTH, 0.9 + sum(0.45 + 0.24 * n for n in rows)), dpi=160, layout=layout)
    panels = drawing.subplots(len(rows), sharex=True, squeeze=False, height_ratios=rows).flat
    for axes, (title, schedule) in zip(panels, schedules.items(), strict=True):
        _panel(axes, title, schedule, points=65 * WIDTH / end)
    panels[-1].set_xlim(0, end)
    panels[-1].set_xlabel(f"time ({unit})", fontsize=8)
    _legend(drawing, {task.kind for schedule in schedules.values() for task in schedule})
    return drawing


def draw(schedules: Mapping[str, Schedule], path: str | os.PathLike, unit: str = UNIT) -> None:
    """Saves `figure(schedules, unit)` as a PNG file."""
    figure(schedules, unit).savefig(path, format="png")


def _devices(schedule: Schedule) -> int:
    return 1 + max(task.device for task in schedule)


def _block_sizes(components: int, devices: int, micro_batches: int) -> tuple[int, ...]:
    """How many components each device gets: as equal as possible, the larger blocks first."""
    if not 1 <= devices <= components:
        raise ValueError(f"devices must be between 1 and components = {components}, got {devices}.")
    if micro_batches < 1:
        raise ValueError(f"micro_batches must be at least 1, got {micro_batches}.")
    size, rest = divmod(components, devices)
    return tuple(size + (device < rest) for device in range(devices))


def _box(axes: Axes, task: Task, points: float) -> None:
    """Draws one task, its forward part light, with the number of the micro-batch where that fits."""
    light, full, ink = COLOURS[task.update % len(COLOURS)]
    end = task.start + task.duration
    left, colour = task.start, full
    if task.kind == "forward":
        colour, ink = light, INK
    if task.kind == "local":
        forward = task.duration * FORWARD / LOCAL
        axes.barh(task.device, forward, left=left, height=BOX, color=light)
        left += forward
    axes.barh(task.device, end - left, left=left, height=BOX, color=colour)
    edge = {"color": "none", "edgecolor": "white", "linewidth": 0.6}
    axes.barh(task.device, task.duration, left=task.start, height=BOX, **edge)
    number = str(task.micro_batch + 1)
    size = min(7, points * (end - left) / (0.7 * len(number)))
    if size >= 4:
        place = (left + end) / 2, task.device
        axes.text(*place, number, size=size, color=ink, ha="center", va="center_baseline")


def _panel(axes: Axes, title: str, schedule: Schedule, points: float) -> None:
    """Draws one schedule; a unit of time is about `points` points wide."""
    devices = range(_devices(schedule))
    axes.barh(devices, makespan(schedule), height=BOX, color=IDLE)
    for task in schedule:
        _box(axes, task, points)
    axes.set_title(f"{title}: devices busy {utilisation(schedule):.0%} of the time", loc="left", fontsize=9)
    axes.set_yticks(devices, [f"device {device + 1}" for device in devices], fontsize=8)
    axes.invert_yaxis()
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)


def _legend(drawing: Figure, kinds: set[str]) -> None:
    light, full, idle = (Patch(color=colour) for colour in (*COLOURS[0][:2], IDLE))
    entries: dict[str, Any] = {"forward": light, "backward": full, "local": (light, full), "idle": idle}
    labels = {"local": "local: forward, backward and update"}
    shown = [name for name in entries if name in {*kinds, "idle"}]
    drawing.legend(
        [entries[name] for name in shown],
        [labels.get(name, name) for name in shown],
        title="number: micro-batch, colour: update",
        loc="outside lower center",
        ncols=len(shown),
        frameon=False,
        fontsize=8,
        title_fontsize=8,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the schedules of backprop, GPipe and Associated Learning.")
    parser.add_argument("--components", type=int, default=4)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--micro-batches", type=int, default=8)
    parser.add_argument("--per-update", type=int, default=4, help="micro-batches in an update of GPipe")
    parser.add_argument("--output", default="schedule.png", help="where the PNG goes")
    args = parser.parse_args()
    sizes = args.components, args.devices, args.micro_batches
    try:
        schedules = {
            "Backpropagation": backprop(*sizes),
            "GPipe": gpipe(*sizes, args.per_update),
            "Associated Learning": associated(*sizes),
        }
    except ValueError as error:
        parser.error(str(error))
    draw(schedules, args.output)


if __name__ == "__main__":
    main()
