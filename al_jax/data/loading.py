"""One function from the name of a data set to its examples."""

import os
from pathlib import Path

from al_jax.data import cache
from al_jax.data.dataset import Dataset
from al_jax.data.digits import read_digits
from al_jax.data.sizes import size_of
from al_jax.data.tfds import read_tfds, stream_tfds

# What fits in memory, and what TensorFlow Datasets calls it. Of SVHN, `extra` is never read.
_TFDS = {name: name for name in ("mnist", "fashion_mnist", "cifar10", "cifar100", "stl10")} | {"svhn": "svhn_cropped"}
# What stays on disk, and the split to test on: what ImageNet itself calls its test has no labels.
STREAMED = {"imagenet2012": "validation", "places365_small": "validation"}


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Loads a data set.

    `digits` (scikit-learn's, 8x8 pixels) needs no files. The others are prepared by TensorFlow Datasets. Small ones
    are decoded once; from then on they are read from `data_dir/al_jax/NAME.npz`, whose checksum is verified. Large
    ones stay on disk, as `Stream`s of 224x224 pixels.

    Args:
      name: `digits`, `mnist`, `fashion_mnist`, `cifar10`, `cifar100`, `svhn` or `stl10`; on disk `imagenet2012` or
        `places365_small`.
      data_dir: the folder of TensorFlow Datasets, `~/tensorflow_datasets` by default.

    Raises:
      DataError: the name is unknown, a package is missing, or the data is missing or damaged.
    """
    size_of(name)  # refuses what is unknown
    if name == "digits":
        return read_digits()
    folder = Path(data_dir or "~/tensorflow_datasets").expanduser()
    if name in STREAMED:
        return stream_tfds(name, folder, STREAMED[name])
    path = folder / "al_jax" / f"{name}.npz"
    if path.exists():
        return cache.read(path, name)
    dataset = read_tfds(_TFDS[name], folder)._replace(name=name)
    cache.write(path, dataset)
    return dataset
