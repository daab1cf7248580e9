"""Examples that do not fit in memory: read, decoded and cropped by threads of the host while the device computes.

`grain` reads ahead and is imported where it is used: data in memory does without it.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from al_jax.arguments import reason
from al_jax.data import crops
from al_jax.data.dataset import Batch, DataError

SIDE = 224  # pixels
AHEAD = 2048  # photographs that are kept ready, some 300 MB


class Source(Protocol):
    """Examples by their number, as the data sources of TensorFlow Datasets give them."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Mapping[str, Any]: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """Photographs on disk.

    Attributes:
      name: of the data set, for messages.
      source: `{"image": uint8 (h, w, 3), "label": int}` of every example, where h and w differ from one to the next.
      rows: which examples of the source these are, int32 `(N,)`.
      side: height and width of every image as it is handed on.
    """

    name: str
    source: Source
    rows: np.ndarray
    side: int = SIDE

    @classmethod
    def of(cls, name: str, source: Source) -> "Stream":
        """All examples of a source.

        Raises:
          DataError: grain is not installed.
        """
        _grain(name)
        return cls(name, source, np.arange(len(source), dtype=np.int32))

    @property
    def examples(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.side, self.side, 3)

    def take(self, indices: np.ndarray) -> "Stream":
        return dataclasses.replace(self, rows=self.rows[indices])

    def batches(self, indices: np.ndarray, seeds: np.ndarray | None = None, epoch: int = 0) -> Iterator[Batch]:
        """As `Examples.batches`; images are cropped at random where there are seeds, else out of the middle.

        Threads are one batch ahead. The order is that of `indices`, however they are scheduled.
        """
        grain, size = _grain(self.name), indices[0].size
        rows = self.rows[indices].reshape(-1)
        keys = None if seeds is None else np.broadcast_to(seeds, indices.shape).reshape(-1)

        def read(place: int) -> Batch:
            return self._read(int(rows[place]), None if keys is None else (int(keys[place]), epoch))

        threads = os.cpu_count() or 1
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=min(max(threads, size), AHEAD))
        reading = iter(grain.MapDataset.range(len(rows)).map(read).to_iter_dataset(options).batch(size))
        try:
            for batch in reading:
                yield {name: array.reshape((*indices.shape[1:], *array.shape[1:])) for name, array in batch.items()}
        finally:
            reading.close()

    def _read(self, row: int, key: tuple[int, int] | None) -> Batch:
        try:
            example = self.source[row]
            image, label = example["image"], np.asarray(example["label"], np.int32)
        except Exception as error:  # TFDS, array_record and Pillow share no base class
            cause = reason(error, named=True)
            raise DataError(f"example {row} of {self.name} cannot be read ({cause}): prepare the data again") from error
        if key is None:
            return {"image": crops.central(image, self.side), "label": label}
        return {"image": crops.random_resized(image, self.side, _draws(*key, row)), "label": label}


def _draws(seed: int, epoch: int, row: int) -> np.ndarray:
    """Numbers in [0, 1). An example comes once in an epoch, so its number tells its place in the order."""
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(epoch, row)))
    return (bits.random_raw(crops.DRAWS) >> np.uint64(11)) * 2.0**-53


def _grain(name: str) -> Any:
    try:
        import grain  # pyrefly: ignore[missing-import]
    except ImportError as error:
        raise DataError(f'{name} is read from disk through grain: run `pip install "al_jax[stream]"`') from error
    return grain
