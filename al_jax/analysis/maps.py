"""Maps of layers by t-SNE (van der Maaten & Hinton 2008), as results keep them and as figures: the paper's 5 and 6.

A map is one line of text in JSON, its points' coordinates one after another, with as many digits as a figure shows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

PCA_DIMENSIONS = 50  # what t-SNE is given, as its authors advise
MAX_CLASSES = 20  # told apart by colour; of more, the first ones are shown
MAPPED = 1000  # images at most in the maps of a run
HALO = withStroke(linewidth=2.5, foreground="white")  # of numbers that stand over points


def mapped(labels: np.ndarray) -> np.ndarray:
    """Indices of the examples that a run's maps show."""
    return np.flatnonzero(labels < MAX_CLASSES)[:MAPPED]


def place(points: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, Any]:
    """A map of each set of points `(N, ...)` of classes `(N,)`, for `draw`."""
    shown = labels < MAX_CLASSES
    places = {}
    for name, given in points.items():
        flat = np.asarray(given[shown], np.float32).reshape(int(shown.sum()), -1)
        if flat.shape[1] > PCA_DIMENSIONS:
            flat = PCA(PCA_DIMENSIONS, random_state=0).fit_transform(flat)
        with threadpool_limits(1):  # the threads of several processes would spin and wait for each other
            placed = TSNE(init="pca", random_state=0).fit_transform(flat)
        places[name] = " ".join(f"{value:.1f}" for value in placed.ravel())
    return {"labels": " ".join(str(label) for label in labels[shown]), "places": places}


def draw(found: Mapping[str, Any]) -> Figure:
    """What `place` made, a panel for each map, coloured by class, whose number stands where its points are."""
    labels = np.array(found["labels"].split(), int)
    colours = colormaps["tab20" if labels.max() > 9 else "tab10"]
    places = found["places"]
    figure = Figure(figsize=(3.2 * len(places), 3.4), layout="constrained")
    for axes, (name, text) in zip(figure.subplots(1, len(places), squeeze=False)[0], places.items(), strict=True):
        points = np.array(text.split(), float).reshape(-1, 2)
        axes.scatter(*points.T, c=labels, cmap=colours, s=3)
        for label in np.unique(labels):
            middle = np.median(points[labels == label], axis=0)
            axes.text(*middle, str(label), ha="center", va="center", fontsize=9, weight="bold", path_effects=[HALO])
        axes.set(title=name, xticks=[], yticks=[])
        axes.spines[:].set_color("#DDDDDD")  # which panel a lonely point is in
    return figure
