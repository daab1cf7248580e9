"""Accuracy of a network's components on images they do not train on."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.data import Split
from al_jax.types import Network, Variables

BATCH = 1000


class Accuracy(NamedTuple):
    """Shares of correct predictions by the first k components, k = 1 … K."""

    by_depth: tuple[float, ...]
    top5_by_depth: tuple[float, ...]

    @property
    def full(self) -> float:
        """By all components."""
        return self.by_depth[-1]


def make_evaluate(network: Network) -> Callable[[Sequence[Variables], Split], Accuracy]:
    """Compiles `(variables, split) -> Accuracy` once for a network."""
    depths = range(1, len(network.components) + 1)

    @jax.jit
    def count(variables, image, label, real):
        def correct(depth):
            scores = network.predict(variables, image, depth=depth)
            own = jnp.take_along_axis(scores, label[:, None], axis=1)
            # The place of the label among the scores; NaN is never right.
            rank = jnp.where(jnp.isnan(own), scores.shape[1], scores > own).sum(axis=1)
            return jnp.stack([jnp.sum((rank < places) & real) for places in (1, 5)])

        return jnp.stack([correct(depth) for depth in depths])

    def evaluate(variables, split):
        size = min(BATCH, len(split.label))
        total = np.zeros((len(depths), 2), np.int64)
        for start in range(0, len(split.label), size):
            # The last batch is filled up with examples that do not count, so that one program serves all.
            index = np.arange(start, start + size)
            real = index < len(split.label)
            index = np.where(real, index, 0)
            total += np.asarray(count(tuple(variables), split.image[index], split.label[index], real))
        shares = total / len(split.label)
        return Accuracy(tuple(map(float, shares[:, 0])), tuple(map(float, shares[:, 1])))

    return evaluate


def summarise(accuracies: Mapping[str, Accuracy], classes: int) -> dict[str, float | list[float]]:
    """The keys of summary.json for the accuracy on each split: test, train, and validation if there is one."""
    summary = {f"{split}_accuracy": accuracy.full for split, accuracy in accuracies.items()}
    summary["accuracy_by_depth"] = list(accuracies["test"].by_depth)
    if classes > 10:
        summary["test_top5_accuracy"] = accuracies["test"].top5_by_depth[-1]
    return summary
