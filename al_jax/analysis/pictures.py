"""Pictures of what networks have learned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from al_jax.analysis.plots import COLOURS, finish

PCA_DIMENSIONS = 50  # what t-SNE is given, as its authors advise
MAX_CLASSES = 20  # told apart by colour; of more, the first ones are shown


def plot_tsne(points: Mapping[str, np.ndarray], labels: np.ndarray, path: Path, seed: int = 0) -> None:
    """A t-SNE map (van der Maaten & Hinton 2008) of each set of points `(N, ...)`, coloured by class."""
    shown = labels < MAX_CLASSES
    figure = Figure(figsize=(3.2 * len(points), 3.4), layout="constrained")
    for axes, (name, given) in zip(figure.subplots(1, len(points), squeeze=False)[0], points.items(), strict=True):
        flat = np.asarray(given[shown], np.float32).reshape(int(shown.sum()), -1)
        if flat.shape[1] > PCA_DIMENSIONS:
            flat = PCA(PCA_DIMENSIONS, random_state=seed).fit_transform(flat)
        placed = TSNE(init="pca", random_state=seed).fit_transform(flat)
        axes.scatter(*placed.T, c=labels[shown], cmap=colormaps["tab20" if labels.max() > 9 else "tab10"], s=3)
        axes.set(title=name, xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=140)


def plot_exits(exits: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy against the average cost of an example, a point for each threshold."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    cost, accuracy = [one["macs"] / 1e6 for one in exits], [one["accuracy"] for one in exits]
    axes.plot(cost, accuracy, color=COLOURS[0], marker="o", linewidth=1.2, markersize=4)
    for one in (exits[0], exits[-1]):
        axes.annotate(
            f"{one['threshold']:g}", (one["macs"] / 1e6, one["accuracy"]), textcoords="offset points", xytext=(4, -10)
        )
    axes.set(title="exit at a confidence", xlabel="million multiply-accumulates an image", ylabel="test accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    finish(axes)
    figure.savefig(path, dpi=140)
