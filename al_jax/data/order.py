"""Which example comes when. Every order is one index array, a pure function of its seed on any machine."""

from collections.abc import Iterator

import numpy as np

from al_jax.arguments import whole
from al_jax.data.dataset import Batch, DataError, Examples

_VALIDATION_SEED = 0


def permutation(examples: int, seed: int, epoch: int = 0) -> np.ndarray:
    """The numbers from 0 to `examples` - 1 in an order fixed by (seed, epoch), int32 `(examples,)`.

    NumPy keeps the raw stream of a bit generator from version to version, but not `Generator.permutation`.

    Raises:
      ValueError: the seed or the epoch is no whole number of at least 0.
    """
    seed, epoch = whole("seed", seed, least=0), whole("epoch", epoch, least=0)
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(epoch,)))
    return np.argsort(bits.random_raw(examples), kind="stable").astype(np.int32)


def epoch_order(seed: int, epoch: int, examples: int, batch_size: int) -> np.ndarray:
    """The batches of one epoch, as indices of examples.

    The examples that do not fill a batch are left out, different ones in each epoch.

    Args:
      seed: the run's seed, not negative.
      epoch: the number of the epoch, from 0.
      examples: how many there are to draw from.
      batch_size: how many make a batch.

    Returns:
      int32 `(examples // batch_size, batch_size)`.

    Raises:
      DataError: not even one batch can be filled.
      ValueError: the seed, the epoch or the size of a batch is no whole number, or the former are negative.
    """
    if not 1 <= batch_size <= examples:
        raise DataError(f"batch_size is {batch_size}: choose one from 1 to {examples}, the number of examples")
    steps = examples // whole("batch_size", batch_size)
    return permutation(examples, seed, epoch)[: steps * batch_size].reshape(steps, batch_size)


def gather(examples: Examples, indices: np.ndarray) -> Batch:
    """The examples at `indices`, an array of any shape `S`.

    Returns:
      `{"image": uint8 (*S, H, W, C), "label": int32 S}`.

    Raises:
      DataError: the examples are none, such as a dict of arrays.
    """
    if not hasattr(examples, "batches"):
        kind = type(examples).__name__
        raise DataError(f"gather takes examples, not a {kind}: give an al_jax.data.Split(image, label)")
    return next(examples.batches(np.asarray(indices)[None]))


def batches_in_part(
    examples: Examples,
    indices: np.ndarray,
    needed: np.ndarray | None,
    seeds: np.ndarray | None = None,
    epoch: int = 0,
) -> Iterator[Batch]:
    """`Examples.batches` of which only a part is read; the rest is zeros, for which no memory is touched.

    Args:
      needed: bool `S`, which examples of every call to read; None: all.
    """
    if needed is None:
        yield from examples.batches(indices, seeds, epoch)
        return
    own = None if seeds is None else np.broadcast_to(seeds, indices.shape)[:, needed]
    for part in examples.batches(indices[:, needed], own, epoch):
        batch = {name: np.zeros((*needed.shape, *x.shape[1:]), x.dtype) for name, x in part.items()}
        for name, x in part.items():
            batch[name][needed] = x
        yield batch


def drawn(train: Examples, examples: int) -> Examples:
    """So many examples of a split, the same ones in every run whatever its seed.

    Raises:
      DataError: there are not so many, or none is asked for.
    """
    if not 1 <= examples <= train.examples:
        raise DataError(f"{examples} training examples asked for: choose from 1 to {train.examples}")
    return train.take(permutation(train.examples, _VALIDATION_SEED)[:examples])


def validation_split(train: Examples, examples: int) -> tuple[Examples, Examples]:
    """Takes a validation split out of the training split, the same one in every run whatever its seed.

    Args:
      train: the split to divide.
      examples: how many of it to keep for validation.

    Returns:
      `(train, validation)`, with `N - examples` and `examples` examples.

    Raises:
      DataError: one of the two would be empty.
    """
    if not 1 <= examples < train.examples:
        raise DataError(f"{examples} validation examples asked for: choose from 1 to {train.examples - 1}")
    shuffled = permutation(train.examples, _VALIDATION_SEED)
    return train.take(shuffled[examples:]), train.take(shuffled[:examples])
