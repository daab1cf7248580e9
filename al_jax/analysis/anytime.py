"""Anytime inference: predictions of the first components alone, and stopping where one is confident enough."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

THRESHOLDS = (*(round(0.3 + 0.05 * step, 2) for step in range(14)), 0.97, 0.99)


class Exit(NamedTuple):
    """What a threshold gives.

    Attributes:
      threshold: the confidence that stops an example.
      accuracy: share of correct predictions.
      macs: multiply-accumulates an example, on average.
      shares: of the examples that stopped after 1, 2, … components.
    """

    threshold: float
    accuracy: float
    macs: float
    shares: tuple[float, ...]


def early_exit(scores: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Stops each example at the first component whose decoded class is confident enough, at the latest at the top.

    The confidence is the largest score over the sum of all: the decoder's units are sigmoids, each near 1 or 0.

    Args:
      scores: `(K, N, classes)` from `Network.anytime`, not negative.
      threshold: of the confidence.

    Returns:
      `(classes (N,), depths (N,))`, depths from 1.

    Example:
      >>> scores = np.array([[[0.6, 0.4], [0.9, 0.1]], [[0.2, 0.8], [0.3, 0.7]]])
      >>> early_exit(scores, 0.8)
      (array([1, 0]), array([2, 1]))
    """
    confidence = scores.max(-1) / np.maximum(scores.sum(-1), np.finfo(np.float32).tiny)
    enough = confidence >= threshold
    enough[-1] = True
    depths = enough.argmax(0)
    return scores[depths, np.arange(scores.shape[1])].argmax(-1), depths + 1


def exits(
    scores: np.ndarray, labels: np.ndarray, macs: Sequence[int], thresholds: Sequence[float] = THRESHOLDS
) -> list[Exit]:
    """Accuracy against computation, where reaching depth k costs `macs[k - 1]`."""
    found = []
    for threshold in thresholds:
        classes, depths = early_exit(scores, threshold)
        shares = tuple(float(np.mean(depths == depth)) for depth in range(1, len(scores) + 1))
        accuracy, cost = float(np.mean(classes == labels)), float(np.dot(shares, macs))
        found.append(Exit(threshold, accuracy, cost, shares))
    return found
