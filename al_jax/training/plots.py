"""Plots of a run, from the rows of its metrics.jsonl."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from al_jax.training.measures import Rows

# Paul Tol's "bright" colours, told apart by colour-blind readers too.
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")

DASHES = ("-", "--", ":", "-.")


def plot_losses(rows: Rows, path: Path) -> None:
    """Every component's losses over updates, one panel for each kind of loss."""
    names = sorted({name for row in rows for name in row if name.startswith("component_")}, key=_by_component)
    kinds = sorted({name.partition("/")[2] for name in names})
    figure = Figure(figsize=(5.2 * len(kinds), 3.6), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for index, name in enumerate(name for name in names if name.partition("/")[2] == kind):
            points = [(row["update"], row[name]) for row in rows if name in row]
            label = name.split("/")[0].replace("_", " ")
            axes.plot(*zip(*points, strict=True), label=label, linewidth=1.2, **line_style(index))
        axes.set(title=kind, xlabel="update", ylabel="loss, mean over the updates of a call", yscale="log")
        finish(axes)
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
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        finish(axes)
    figure.savefig(path, dpi=140)


def _accuracy_over_time(axes, rows: Rows) -> None:
    depths = len(rows[-1]["accuracy_by_depth"])
    for depth in range(1, depths + 1):
        points = [(row["epoch"], row["accuracy_by_depth"][depth - 1]) for row in rows]
        label = None if depths == 1 else f"first {depth} components" if depth > 1 else "first component"
        marker = "o" if len(points) == 1 else None
        axes.plot(*zip(*points, strict=True), label=label, linewidth=1.2, marker=marker, **line_style(depth - 1))
    axes.set(title="over training", xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _accuracy_by_depth(axes, rows: Rows) -> None:
    last = rows[-1]["accuracy_by_depth"]
    depths = range(1, len(last) + 1)
    axes.plot(depths, last, color=COLOURS[0], marker="o", linewidth=1.2)
    axes.set(title=f"after epoch {rows[-1]['epoch']}", xlabel="components used")
    axes.set_xticks(list(depths))
    axes.set_ylim(max(0, min(last) - 0.02), min(1, max(last) + 0.02))


def _by_component(name: str) -> tuple[int, str]:
    component, _, kind = name.removeprefix("component_").partition("/")
    return int(component), kind


def line_style(index: int) -> dict[str, Any]:
    """A colour and a dash of its own for each of 28 lines."""
    dash, colour = divmod(index, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": DASHES[dash % len(DASHES)]}


def finish(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
