"""The data set that is always there: scikit-learn's 1797 handwritten digits of 8x8 pixels."""

import numpy as np
from sklearn.datasets import load_digits

from al_jax.data.dataset import Dataset, Split
from al_jax.data.order import permutation

_CLASSES = 10
_TEST_EXAMPLES_PER_CLASS = 36


def read_digits() -> Dataset:
    """The digits with intensities 0..16 stretched to 0..255; 36 examples of each class, always the same, are the test."""
    digits = load_digits()
    image = np.rint(digits.images[..., None] * (255 / 16)).astype(np.uint8)
    label = digits.target.astype(np.int32)
    shuffled = permutation(len(label), seed=0)
    # A stable sort by label keeps the shuffled order within each class.
    by_class = np.split(
        shuffled[np.argsort(label[shuffled], kind="stable")], np.cumsum(np.bincount(label))[:-1]
    )
    test = np.concatenate([members[:_TEST_EXAMPLES_PER_CLASS] for members in by_class])
    train = np.concatenate([members[_TEST_EXAMPLES_PER_CLASS:] for members in by_class])
    return Dataset("digits", Split(image[train], label[train]), Split(image[test], label[test]), _CLASSES)
