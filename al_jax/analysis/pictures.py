"""Pictures of what networks have learned, most of them from `analysis.json` or `results/*.json`.

Each function returns a figure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from al_jax.training.plots import COLOURS, finish, line_style, percent

LITTLE = 30  # what a logarithmic axis spans where numbers read better than powers of ten
MOST_NUMBERS = 8  # blocks whose CKA is written into the map
MOST_MAPS = 8  # blocks whose feature maps are shown
Runs = Sequence[Mapping[str, Any]]


def exits(found: Sequence[Mapping[str, Any]], full: tuple[float, float]) -> Figure:
    """Accuracy against the average cost of an example, a point for each threshold of the confidence.

    `full` is the cost and the accuracy of a prediction by all components that asks no lower one on the way.
    """
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    cost, accuracy = [one["macs"] / 1e6 for one in found], [one["accuracy"] for one in found]
    axes.plot(cost, accuracy, color=COLOURS[0], marker="o", linewidth=1.2, markersize=4)
    labelled = 0.0
    for one in found:  # where there is room for its threshold
        if one["macs"] > 1.06 * labelled:
            labelled = one["macs"]
            place = labelled / 1e6, one["accuracy"]
            axes.annotate(f"{one['threshold']:g}", place, textcoords="offset points", xytext=(3, -11), fontsize=8)
    axes.plot(full[0] / 1e6, full[1], "x", color=COLOURS[1], label="all components, no exits")
    axes.set(
        title="exit at the confidence beside a point",
        xlabel="million multiply-accumulates an image",
        ylabel="test accuracy",
    )
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.margins(0.1, 0.25)
    axes.yaxis.set_major_formatter(percent)
    finish(axes)
    return figure


def by_depth(runs: Runs) -> Figure:
    """Accuracy by the first k components; the associated loss in units of the code's variance, plain where it is not
    the squared error; that variance; and the share of classes whose code decodes to them."""
    figure = Figure(figsize=(13.6, 3.4), layout="constrained")
    accuracy, loss, variance, decoded = figure.subplots(1, 4)
    codes = [run["analysis"]["codes"] for run in runs]
    depths = range(1, len(codes[0]) + 1)
    plot_seeds(accuracy, depths, [run["accuracy_by_depth"] for run in runs])
    title, losses = _associated_losses(runs, depths)
    plot_seeds(loss, depths, losses)
    plot_seeds(variance, depths, [[code["class_variance"] for code in own] for own in codes])
    plot_seeds(decoded, depths, [[code["decoded"] for code in own] for own in codes])
    for axes in (accuracy, decoded):
        axes.yaxis.set_major_formatter(percent)
    accuracy.set(title="test accuracy", xlabel="components used")
    loss.set(title=title, xlabel="component", yscale="log")
    if np.max(losses) < LITTLE * np.min(losses):
        _plain_ticks(loss.yaxis)
    variance.set(title="variance of the code over classes", xlabel="component")
    decoded.set(title="codes that decode", xlabel="component", ylim=(-0.02, 1.04))
    for axes in (accuracy, loss, variance, decoded):
        axes.set_xticks(list(depths))
        finish(axes)
    return figure


def _associated_losses(runs: Runs, depths: Sequence[int]) -> tuple[str, list[list[float]]]:
    """Each component's in each run, and what it is called."""
    codes = [run["analysis"]["codes"] for run in runs]
    if all("associated_by_variance" in code for own in codes for code in own):
        return "associated loss / variance of the code", [
            [code["associated_by_variance"] for code in own] for own in codes
        ]
    return "associated loss", [[run["losses"][f"component_{depth}/associated"] for depth in depths] for run in runs]


def distances(of: Mapping[str, Runs]) -> Figure:
    """Distance between classes over distance within, layer by layer on test images, for each named set of runs."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for (name, runs), colour in zip(of.items(), COLOURS, strict=False):
        layers = [run["analysis"]["distances"]["layers"] for run in runs]
        ratios = [[layer["ratio"] for layer in own] for own in layers]
        plot_seeds(axes, range(1, len(layers[0]) + 1), ratios, color=colour, label=name)
    axes.set(title="distance between classes / within", xlabel="layer", ylabel="ratio", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain_ticks(axes.yaxis)
    finish(axes)
    return figure


def probes(of: Mapping[str, Sequence[float]]) -> Figure:
    """Accuracy of a linear probe on each block of each named run."""
    figure, axes = _by_block(of)
    axes.set(title="test accuracy of linear probes")
    axes.yaxis.set_major_formatter(percent)
    return figure


def cka_by_block(of: Mapping[str, Sequence[float]], reference: str) -> Figure:
    """CKA of each block of each named run with the same block of the reference."""
    figure, axes = _by_block(of)
    axes.set(title=f"linear CKA with the same block of {reference}", ylim=(0, 1.02))
    return figure


def _by_block(of: Mapping[str, Sequence[float]]) -> tuple[Figure, Axes]:
    """A line for each named run."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for index, (name, values) in enumerate(of.items()):
        axes.plot(range(1, len(values) + 1), values, marker="o", label=name, linewidth=1.2, **line_style(index))
    axes.set(xlabel="block")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(axes)
    return figure, axes


def cka(of: Mapping[str, np.ndarray], reference: str) -> Figure:
    """CKA `(blocks of the reference, blocks of the run)` as a map for each named run, low blocks at the bottom.

    The colours of all maps span the values that there are.
    """
    figure = Figure(figsize=(3.2 * len(of) + 0.6, 3.4), layout="constrained")
    widths = [max(columns, rows / 3) for rows, columns in map(np.shape, of.values())]  # as wide as their cells
    panels = figure.subplots(1, len(of), squeeze=False, width_ratios=widths)[0]
    lowest, highest = min(map(np.min, of.values())), max(map(np.max, of.values()))
    for axes, (name, values) in zip(panels, of.items(), strict=True):
        rows, columns = values.shape
        extent = 0.5, columns + 0.5, 0.5, rows + 0.5  # blocks count from 1
        axes.imshow(values, origin="lower", vmin=lowest, vmax=highest, cmap="viridis", extent=extent)
        axes.set(xlabel=f"block of {name}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if max(values.shape) <= MOST_NUMBERS:
            for (row, column), value in np.ndenumerate(values):
                colour = "black" if value > (lowest + 2 * highest) / 3 else "white"
                axes.text(column + 1, row + 1, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
    panels[0].set_ylabel(f"block of {reference}")
    figure.colorbar(panels[-1].images[0], ax=panels[-1], label="linear CKA")
    return figure


def feature_maps(images: np.ndarray, outputs: Sequence[np.ndarray]) -> Figure:
    """Images `(N, H, W, C)` beside the mean over channels of what each block makes of them, each on its own scale.

    Blocks whose output has no height and width are left out. Of more than eight others eight are shown, spread evenly
    from the first to the last.
    """
    maps = [(number, output) for number, output in enumerate(outputs, 1) if output.ndim == 4]
    places = np.linspace(0, len(maps) - 1, min(len(maps), MOST_MAPS)).round().astype(int)
    columns = [("image", images[..., 0] if images.shape[-1] == 1 else images)]
    for number, output in (maps[place] for place in places):
        columns.append((f"block {number}", np.asarray(output, np.float32).mean(-1)))
    figure = Figure(figsize=(1.3 * len(columns), 1.25 * len(images) + 0.2), layout="constrained")
    panels = figure.subplots(len(images), len(columns), squeeze=False)
    for (row, column), axes in np.ndenumerate(panels):
        title, shown = columns[column]
        axes.imshow(shown[row], cmap="viridis" if column else "gray")
        axes.set(xticks=[], yticks=[], title=title if row == 0 else "")
    return figure


def plot_seeds(axes: Axes, places: Sequence[int], values: Sequence[Sequence[float]], **style) -> None:
    """Mean over seeds, and bars from the lowest to the highest, which say more of two or three than a deviation."""
    usual: dict[str, Any] = {"color": COLOURS[0], "marker": "o", "markersize": 4, "linewidth": 1.2, "capsize": 3}
    mean = np.mean(values, axis=0)
    axes.errorbar(
        list(places), mean, [mean - np.min(values, axis=0), np.max(values, axis=0) - mean], **{**usual, **style}
    )


def _plain_ticks(axis) -> None:
    """Numbers, not powers of ten, on an axis that is logarithmic but spans little."""
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")
