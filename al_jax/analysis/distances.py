"""Distances between and within classes, the measure of the paper's Table 7."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.analysis.layers import Place, noted
from al_jax.types import Network, Variables


class Distances(NamedTuple):
    """Mean Euclidean distances.

    Attributes:
      inter: between the means of two classes.
      intra: between two examples of one class, averaged over classes.
    """

    inter: float
    intra: float

    @property
    def ratio(self) -> float:
        return self.inter / self.intra


def class_distances(points: np.ndarray, labels: np.ndarray) -> Distances:
    """Distances of `(N, ...)` points, each flattened, in classes `(N,)` of at least two examples.

    The paper does not define them. With one-hot outputs of 85.8 % accuracy these definitions give 1.19 and 0.37, where
    its Table 7 has 1.17 and 0.36 for a network of that accuracy.

    Example:
      >>> points = np.array([[0.0, 0.0], [0.0, 2.0], [3.0, 1.0], [3.0, 1.0]])
      >>> class_distances(points, np.array([0, 0, 1, 1]))
      Distances(inter=3.0, intra=1.0)
    """
    points = np.asarray(points, np.float64).reshape(len(points), -1)
    groups = [points[labels == label] for label in np.unique(labels)]
    means = np.stack([group.mean(0) for group in groups])
    return Distances(_mean_distance(means), float(np.mean([_mean_distance(group) for group in groups])))


def _mean_distance(points: np.ndarray) -> float:
    """Over all pairs of two different points."""
    squares = np.square(points).sum(1)
    between = np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0)
    np.fill_diagonal(between, 0)
    return float(np.sqrt(between).sum() / (len(points) * (len(points) - 1)))


def layer_distances(
    network: Network, variables: Sequence[Variables], images: np.ndarray, labels: np.ndarray
) -> dict[Place, Distances]:
    """`class_distances` of what every layer makes of images `(N, H, W, C)` with labels `(N,)`, up to rounding.

    The outputs of all layers together may be many times larger than memory, so they go through the network class by
    class, and what is kept of a layer is each class's mean.
    """
    groups = [images[labels == label] for label in np.unique(labels)]
    size = max(map(len, groups))
    reduce, found = jax.jit(class_reduction(network)), []
    for group in groups:
        # A smaller class is filled up with images that do not count, so that one program serves all.
        filled, real = np.resize(group, (size, *group.shape[1:])), np.arange(size) < len(group)
        found.append(jax.device_get(reduce(list(variables), filled, real)))
    distances = {}
    for place in found[0]:
        means, within = zip(*(reduced[place] for reduced in found), strict=True)
        inter = _mean_distance(np.stack(means).astype(np.float64))
        distances[place] = Distances(inter, float(np.mean(within, dtype=np.float64)))
    return distances


def class_reduction(network: Network) -> Callable[..., dict[Place, tuple[jax.Array, jax.Array]]]:
    """Makes `(variables, images, real) -> (mean, distance)` of every layer, for images of one class.

    `real` `(N,)` says which images count; `mean` is theirs, flattened, and `distance` that of two of them on average.
    """

    def reduce(variables, images, real):
        return {place: _reduced(x, real) for place, x in noted(network, variables, images).items()}

    return reduce


def _reduced(x: jax.Array, real: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, counted = jnp.asarray(x, jnp.float32).reshape(len(x), -1), real.astype(jnp.float32)[:, None]
    number = counted.sum()
    mean = (x * counted).sum(0) / number
    # Around their mean, squares are no larger than what is left of them in float32.
    x = (x - mean[None]) * counted
    squares = jnp.square(x).sum(1)
    between = squares[:, None] + squares[None] - 2 * jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)
    pairs = (counted * counted.T) * (1 - jnp.eye(len(x)))
    return mean, jnp.sqrt(jnp.maximum(between, 0) * pairs).sum() / (number * (number - 1))
