"""Linear probes (Alain & Bengio 2016, arXiv 1610.01644): how well a linear classifier separates what a block hands up.

The network stays as it is. Features of images are averaged over height and width, so that blocks of different
resolutions are asked the same question: how much of the class stands in the channels alone.
"""

from collections.abc import Sequence

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from al_jax.analysis.blocks import Outputs, averaged, in_batches
from al_jax.data import Split
from al_jax.types import Variables

BATCH = 500
ITERATIONS = 2000  # of L-BFGS at most; 50,000 examples of 64 features took less than 200, not recorded


def probe_accuracies(outputs: Outputs, variables: Sequence[Variables], train: Split, test: Split) -> list[float]:
    """Test accuracy of a probe on each block's features, from the input upwards.

    Args:
      outputs: of the blocks, see `block_outputs`, for a network that takes the images of the splits.
      variables: of every component.
      train: what probes are fitted to.
      test: what they are measured on.
    """
    fitted, measured = (block_features(outputs, variables, split.image) for split in (train, test))
    return [probe(x, train.label, y, test.label) for x, y in zip(fitted, measured, strict=True)]


def block_features(outputs: Outputs, variables: Sequence[Variables], images: np.ndarray) -> list[np.ndarray]:
    """Of each block one vector an example, `(N, C)`."""
    compute = jax.jit(lambda variables, images: [averaged(x) for x in outputs(variables, images)])
    parts = [jax.device_get(compute(list(variables), batch)) for batch in in_batches(images, BATCH)]
    return [np.concatenate(own) for own in zip(*parts, strict=True)]


def probe(features: np.ndarray, labels: np.ndarray, test_features: np.ndarray, test_labels: np.ndarray) -> float:
    """Test accuracy of multinomial logistic regression on standardised features `(N, C)`, labels `(N,)`.

    With scikit-learn's default penalty, half the squared norm of the weights.

    Example:
      >>> x, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
      >>> probe(x, y, x, np.array([0, 0, 1, 0]))
      0.75
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS))
    return float(model.fit(features, labels).score(test_features, test_labels))
