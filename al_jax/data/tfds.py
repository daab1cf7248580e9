"""Data sets that TensorFlow Datasets prepared as array_record files, read without TensorFlow.

Only preparing needs TensorFlow. `tensorflow_datasets` is imported where it is used: digits do without it.
"""

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from al_jax.arguments import reason
from al_jax.data.dataset import DataError, Dataset, Split
from al_jax.data.stream import Stream

_ROWS_AT_ONCE = 1024


def read_tfds(name: str, data_dir: Path) -> Dataset:
    """Decodes `data_dir/NAME/VERSION`, after preparing it where it is absent and TensorFlow is installed.

    Args:
      name: what TensorFlow Datasets calls it.
      data_dir: its folder of data sets.

    Raises:
      DataError: the data is absent and cannot be prepared, or is not what TensorFlow Datasets writes.
    """
    with _explained(name, data_dir):
        features, (train, test) = _sources(name, data_dir, ("train", "test"))
        train, test = (_decode(source, features["image"].shape) for source in (train, test))
        return Dataset(name, train, test, features["label"].num_classes)


def stream_tfds(name: str, data_dir: Path, test: str) -> Dataset:
    """Opens `data_dir/NAME/VERSION` without reading it, after preparing it as `read_tfds` does.

    Args:
      name: what TensorFlow Datasets calls it.
      data_dir: its folder of data sets.
      test: the split that has the labels to measure on, beside `train`.

    Raises:
      DataError: as `read_tfds`, or grain is not installed.
    """
    with _explained(name, data_dir):
        features, sources = _sources(name, data_dir, ("train", test))
        train, held_out = (Stream.of(name, source) for source in sources)
        return Dataset(name, train, held_out, features["label"].num_classes)


def _sources(name: str, data_dir: Path, splits: Sequence[str]) -> tuple[Any, list[Any]]:
    """The features of a data set, and a data source of each of these splits only."""
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder(name, data_dir=str(data_dir), file_format="array_record")
    if not Path(builder.data_dir, "dataset_info.json").exists():
        _download_and_prepare(builder)
    return builder.info.features, [builder.as_data_source(split) for split in splits]


@contextlib.contextmanager
def _explained(name: str, data_dir: Path) -> Iterator[None]:
    """Turns whatever goes wrong inside into one sentence."""
    try:
        yield
    except DataError:
        raise
    except ImportError as error:
        if "tensorflow" in str(error):  # some builders, as ImageNet's, import it before they look for data
            raise _not_prepared(name, data_dir / name) from error
        raise DataError(
            f"{name} needs a missing package ({reason(error, named=True)}): run `pip install pillow array_record`"
        ) from error
    except Exception as error:  # TFDS, array_record and Pillow share no base class
        raise DataError(
            f"{data_dir / name} does not hold intact array_record data ({reason(error, named=True)}): "
            "delete that folder and prepare it again, or choose another data_dir"
        ) from error


def _download_and_prepare(builder: Any) -> None:
    import tensorflow_datasets as tfds

    alternative = f"put prepared array_record data in {builder.data_dir}"
    if importlib.util.find_spec("tensorflow") is None:
        raise _not_prepared(builder.name, builder.data_dir)
    tfds.disable_progress_bar()
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except Exception as error:  # of the network, the archives, TensorFlow or the disk
        raise DataError(
            f"{builder.name} could not be downloaded and prepared ({reason(error, named=True)}): "
            f"try again with network, or {alternative}"
        ) from error


def _not_prepared(name: str, folder: Path | str) -> DataError:
    return DataError(
        f'{name} is not prepared: run `pip install "al_jax[tfds]"` and try again with network, or put prepared '
        f"array_record data in {folder}, or name another data_dir"
    )


def _decode(source: Any, shape: tuple[int, int, int]) -> Split:
    image = np.empty((len(source), *shape), np.uint8)
    label = np.empty(len(source), np.int32)
    for start in range(0, len(source), _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, len(source)))
        examples = source.__getitems__(range(rows.start, rows.stop))
        image[rows] = [example["image"] for example in examples]
        label[rows] = [example["label"] for example in examples]
    return Split(image, label)
