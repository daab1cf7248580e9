"""Schedules drawn: a row for each device, a box for each task."""

import os
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch

from al_jax.schedule.schedules import FORWARD, LOCAL, Schedule, Task, devices_of, makespan, utilisation

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


def figure(schedules: Mapping[str, Schedule], unit: str = UNIT) -> Figure:
    """Draws schedules, by title, on one time axis in `unit`: a row for each device, a colour for each update.

    Raises:
      ValueError: if there is nothing to draw.
    """
    if not schedules or not all(schedules.values()):
        raise ValueError("figure needs at least one schedule, each with at least one task.")
    rows = [devices_of(schedule) for schedule in schedules.values()]
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
    line = min(0.6, 0.15 * points * task.duration)  # which must not hide a narrow box
    edge = {"color": "none", "edgecolor": "white", "linewidth": line}
    axes.barh(task.device, task.duration, left=task.start, height=BOX, **edge)
    number = str(task.micro_batch + 1)
    size = min(7, points * (end - left) / (0.7 * len(number)))
    if size >= 4:
        place = (left + end) / 2, task.device
        axes.text(*place, number, size=size, color=ink, ha="center", va="center_baseline")


def _panel(axes: Axes, title: str, schedule: Schedule, points: float) -> None:
    """Draws one schedule; a unit of time is about `points` points wide."""
    devices = range(devices_of(schedule))
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
