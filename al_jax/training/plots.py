"""Plots of a run, from the rows of its metrics.jsonl."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from al_jax.training.measures import Rows, part_of

# Paul Tol's "bright" colours, told apart by colour-blind readers too.
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")

DASHES = ("-", "--", ":", "-.")
MOST_NAMED = 10  # lines that a legend tells apart; more get colours by their depth, and a bar that explains them
DEPTHS = ListedColormap(colormaps["viridis"](np.linspace(0, 0.92, 256)))  # without the yellow that paper swallows


def plot_losses(rows: Rows, path: Path) -> None:
    """Every component's losses over updates, one panel for each kind of loss."""
    names = sorted({name for row in rows for name in row if name.startswith("component_")}, key=part_of)
    kinds = sorted({part_of(name)[1] for name in names})
    number, _ = part_of(names[-1])
    figure = Figure(figsize=(5.2 * len(kinds), 3.6), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for name in (name for name in names if part_of(name)[1] == kind):
            component, _ = part_of(name)
            points = [(row["update"], row[name]) for row in rows if name in row]
            style = of_depth(component, number, f"component {component}")
            axes.plot(*zip(*points, strict=True), marker=marker_of(points), **style)
        axes.set(title=kind, xlabel="update", ylabel="loss, mean over the updates of a call", yscale="log")
        finish(axes)
    explain_depths(panels, number, "component")
    figure.savefig(path, dpi=140)


def plot_accuracy(rows: Rows, path: Path) -> None:
    """Test accuracy of the first k components over epochs, and at the end by depth where there is more than one."""
    rows = [row for row in rows if "accuracy_by_depth" in row]
    panels = (
        [_accuracy_over_time, _accuracy_by_depth] if len(rows[-1]["accuracy_by_depth"]) > 1 else [_accuracy_over_time]
    )
    figure = Figure(figsize=(5.2 * len(panels), 3.6), layout="constrained")
    for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes, rows)
        axes.set_ylabel("test accuracy")
        axes.yaxis.set_major_formatter(percent)
        finish(axes)
    figure.savefig(path, dpi=140)


def _accuracy_over_time(axes, rows: Rows) -> None:
    depths = len(rows[-1]["accuracy_by_depth"])
    for depth in range(1, depths + 1):
        points = [(row["epoch"], row["accuracy_by_depth"][depth - 1]) for row in rows]
        label = None if depths == 1 else f"first {depth} components" if depth > 1 else "first component"
        axes.plot(*zip(*points, strict=True), marker=marker_of(points), **of_depth(depth, depths, label))
    explain_depths([axes], depths, "components used")
    axes.set(title="over training", xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _accuracy_by_depth(axes, rows: Rows) -> None:
    last = rows[-1]["accuracy_by_depth"]
    depths = range(1, len(last) + 1)
    axes.plot(depths, last, color=COLOURS[0], marker="o", linewidth=1.2)
    axes.set(title=f"after epoch {rows[-1]['epoch']}", xlabel="components used")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(max(0, min(last) - 0.02), min(1, max(last) + 0.02))


def marker_of(points: Sequence[Any]) -> str | None:
    """A dot for a line of one point, which would not be seen."""
    return "o" if len(points) == 1 else None


def line_style(index: int) -> dict[str, Any]:
    """A colour and a dash of its own for each of 28 lines."""
    dash, colour = divmod(index, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": DASHES[dash % len(DASHES)]}


def of_depth(depth: int, depths: int, label: str | None) -> dict[str, Any]:
    """How the line of one depth looks among so many, named only where a legend has room for all of them."""
    if depths <= MOST_NAMED:
        return {"label": label, "linewidth": 1.2, **line_style(depth - 1)}
    return {"color": DEPTHS((depth - 1) / (depths - 1)), "linewidth": 0.9}


def explain_depths(panels: Sequence[Axes], depths: int, label: str) -> None:
    """A bar of the colours that stand for depths, where there are too many for a legend."""
    if depths > MOST_NAMED:
        scale = ScalarMappable(Normalize(1, depths), DEPTHS)
        panels[0].figure.colorbar(scale, ax=panels, label=label, ticks=MaxNLocator(integer=True))


def percent(share: float, _: float = 0.0) -> str:
    """A tick of an axis of shares, with no more digits than it needs."""
    return f"{100 * share:.5g}%"


def finish(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
