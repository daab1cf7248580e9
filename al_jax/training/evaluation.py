"""Accuracy of a network's components on images they do not train on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.components import anytime_scores
from al_jax.data import Examples
from al_jax.engines import distributed
from al_jax.types import Network, Variables

BATCH = 1000
TOP5_ABOVE = 10  # classes


class Accuracy(NamedTuple):
    """Shares of correct predictions by the first k components, k = 1 … K."""

    by_depth: tuple[float, ...]
    top5_by_depth: tuple[float, ...]

    @property
    def full(self) -> float:
        """By all components."""
        return self.by_depth[-1]

    def named(self, split: str, classes: int) -> dict[str, float]:
        """What records call the accuracy by all components on a split; the top five say little of ten classes."""
        top5 = {f"{split}_top5_accuracy": self.top5_by_depth[-1]} if classes > TOP5_ABOVE else {}
        return {f"{split}_accuracy": self.full, **top5}


class Evaluate(Protocol):
    """The accuracy of a network with these variables on a split; calls `alive` after every batch."""

    def __call__(
        self, variables: Sequence[Variables], split: Examples, alive: Callable[[], None] = lambda: None
    ) -> Accuracy: ...


def make_evaluate(network: Network) -> Evaluate:
    """Compiles once for a network, and for its splits one after another; several processes share the examples."""

    @jax.jit
    def count(variables, image, label, real):
        def correct(scores):
            own = jnp.take_along_axis(scores, label[:, None], axis=1)
            classes = jnp.arange(scores.shape[1], dtype=label.dtype)[None]
            # As for argmax, the first of equal scores wins; a row with NaN is never right.
            ahead = (scores > own) | ((scores == own) & (classes < label[:, None]))
            real_number = ~jnp.isnan(scores).any(axis=1)
            rank = ahead.sum(axis=1)
            return jnp.stack([jnp.sum((rank < places) & real & real_number) for places in (1, 5)])

        return jnp.stack([correct(scores) for scores in anytime_scores(network, variables, image)])

    def evaluate(variables, split, alive=lambda: None):
        size = min(BATCH, split.examples)
        # The last batch is filled up with examples that do not count, so that one program serves all.
        indices = np.arange(-(-split.examples // size) * size).reshape(-1, size)
        indices = indices[distributed.rank() :: distributed.size()]
        real = indices < split.examples
        correct = np.zeros((len(network.depths), 2), np.int32)
        for batch, counted in zip(split.batches(np.where(real, indices, 0)), real, strict=True):
            correct += np.asarray(count(tuple(variables), batch["image"], batch["label"], counted))
            alive()
        shares = distributed.total(correct) / split.examples
        return Accuracy(tuple(map(float, shares[:, 0])), tuple(map(float, shares[:, 1])))

    return evaluate
