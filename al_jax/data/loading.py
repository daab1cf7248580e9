"""One function from the name of a data set to its arrays."""

import difflib
import os
from pathlib import Path

from al_jax.data import cache
from al_jax.data.dataset import DataError, Dataset
from al_jax.data.digits import read_digits
from al_jax.data.tfds import read_tfds

# What fits in memory, and what TensorFlow Datasets calls it. Of SVHN, `extra` is never read.
_TFDS = {name: name for name in ("mnist", "fashion_mnist", "cifar10", "cifar100", "stl10")} | {"svhn": "svhn_cropped"}
_NAMES = ("digits", *_TFDS)


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Loads a data set whole.

    `digits` (scikit-learn's, 8x8 pixels) needs no files. The others are prepared by TensorFlow Datasets and
    decoded once; from then on they are read from `data_dir/al_jax/NAME.npz`, whose checksum is verified.

    Args:
      name: `digits`, `mnist`, `fashion_mnist`, `cifar10`, `cifar100`, `svhn` or `stl10`.
      data_dir: the folder of TensorFlow Datasets, `~/tensorflow_datasets` by default.

    Raises:
      DataError: the name is unknown, or the data is missing or damaged.
    """
    if name == "digits":
        return read_digits()
    if name not in _TFDS:
        nearest = difflib.get_close_matches(name.lower(), _NAMES, n=1, cutoff=0)[0]
        raise DataError(f"unknown data set {name!r} (did you mean {nearest!r}?): choose one of {', '.join(_NAMES)}")
    folder = Path(data_dir or "~/tensorflow_datasets").expanduser()
    path = folder / "al_jax" / f"{name}.npz"
    if path.exists():
        return cache.read(path, name)
    dataset = read_tfds(_TFDS[name], folder, name)
    cache.write(path, dataset)
    return dataset
