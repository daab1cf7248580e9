"""The nouns of the data package. `N` counts examples; an image is `H` rows by `W` columns of `C` channels."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

Batch = dict[str, np.ndarray]  # {"image": uint8 (*S, H, W, C), "label": int32 S}


class DataError(ValueError):
    """Data that cannot be had as asked. The message is one sentence: what is wrong and what to do."""


class Examples(Protocol):
    """Labelled images wherever they lie: a `Split` in the memory of the host, or a `Stream` on disk."""

    @property
    def examples(self) -> int:
        """How many there are, `N`."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image, `(H, W, C)`."""
        ...

    def take(self, indices: np.ndarray) -> "Examples":
        """Those at `indices`, int32 `(n,)`, by themselves."""
        ...

    def batches(self, indices: np.ndarray, seeds: np.ndarray | None = None, epoch: int = 0) -> Iterator[Batch]:
        """The examples at `indices[0]`, `indices[1]`, …, in this order.

        Args:
          indices: int32 `(calls, *S)`.
          seeds: `(*S)` or what broadcasts to it. A `Stream` then crops and mirrors each image at random, a pure
            function of seed, epoch and example; for None, and in memory, nothing is random.
          epoch: for those draws.

        Raises:
          DataError: an example cannot be read.
        """
        ...


class Split(NamedTuple):
    """Examples in the memory of the host.

    Attributes:
      image: uint8 `(N, H, W, C)`.
      label: int32 `(N,)`, from 0.
    """

    image: np.ndarray
    label: np.ndarray

    @property
    def examples(self) -> int:
        return len(self.label)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.image.shape[1:]

    def take(self, indices: np.ndarray) -> "Split":
        return Split(self.image[indices], self.label[indices])

    def batches(self, indices: np.ndarray, seeds: np.ndarray | None = None, epoch: int = 0) -> Iterator[Batch]:
        for chosen in indices:
            yield {"image": self.image[chosen], "label": self.label[chosen]}


class Dataset(NamedTuple):
    """A classification task.

    Attributes:
      name: what `load` calls it.
      train: the examples to learn from.
      test: the examples to measure on, never to choose by.
      classes: how many values a label can take.
    """

    name: str
    train: Examples
    test: Examples
    classes: int


def in_memory(examples: Examples) -> Split:
    """The same examples, where they are a `Split`.

    Raises:
      DataError: they stay on disk.
    """
    if not isinstance(examples, Split):
        raise DataError(
            f"all {examples.examples} images would be needed at once, but they stay on disk: use a data set that fits "
            "in memory, such as cifar10"
        )
    return examples
