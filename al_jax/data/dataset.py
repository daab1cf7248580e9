"""The nouns of the data package. `N` counts examples; an image is `H` rows by `W` columns of `C` channels."""

from typing import NamedTuple

import numpy as np


class DataError(ValueError):
    """Data that cannot be had as asked. The message is one sentence: what is wrong and what to do."""


class Split(NamedTuple):
    """Examples in the memory of the host.

    Attributes:
      image: uint8 `(N, H, W, C)`.
      label: int32 `(N,)`, from 0.
    """

    image: np.ndarray
    label: np.ndarray


class Dataset(NamedTuple):
    """A classification task.

    Attributes:
      name: what `load` calls it.
      train: the examples to learn from.
      test: the examples to measure on, never to choose by.
      classes: how many values a label can take.
    """

    name: str
    train: Split
    test: Split
    classes: int
