"""The data set that is always there: the 1797 handwritten digits of 8x8 pixels in scikit-learn."""

from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np

from al_jax.data.dataset import Dataset, Split
from al_jax.data.order import permutation

_CLASSES = 10
_TEST_EXAMPLES_PER_CLASS = 36


def read_digits() -> Dataset:
    """The digits, intensities 0..16 stretched to 0..255. The same 36 of each class are always the test."""
    table = _table()
    intensity, label = table[:, :-1], table[:, -1]
    image = np.rint(intensity * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    label = label.astype(np.int32)
    order = permutation(len(label), seed=0)
    test = np.concatenate([order[label[order] == k][:_TEST_EXAMPLES_PER_CLASS] for k in range(_CLASSES)])
    is_test = np.isin(np.arange(len(label)), test)
    train, test = Split(image[~is_test], label[~is_test]), Split(image[is_test], label[is_test])
    return Dataset("digits", train, test, _CLASSES)


def _table() -> np.ndarray:
    """`(1797, 65)`, intensities and label, from scikit-learn's file: importing it would take longer than the rest."""
    path = Path(str(distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")))
    if path.exists():
        return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    return np.column_stack([digits.data, digits.target])
