"""Data sets that TensorFlow Datasets prepared as array_record files, read without TensorFlow.

Only preparing needs TensorFlow. `tensorflow_datasets` is imported inside the functions because digits need neither.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from al_jax.data.dataset import DataError, Dataset, Split

_ROWS_AT_ONCE = 1024


def read_prepared(name: str, data_dir: Path) -> Dataset:
    """Decodes `data_dir/NAME/VERSION`, after downloading and preparing it where it is absent and TensorFlow is installed.

    Raises:
      DataError: the data is absent and cannot be prepared, or is not what TensorFlow Datasets writes.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=str(data_dir), file_format="array_record")
        if not Path(builder.data_dir, "dataset_info.json").exists():
            _download_and_prepare(builder)
        sources, features = builder.as_data_source(), builder.info.features
        train, test = (_decode(sources[split], features["image"].shape) for split in ("train", "test"))
        return Dataset(name, train, test, features["label"].num_classes)
    except DataError:
        raise
    except ImportError as error:
        raise DataError(f"{name} needs packages to be read: run `pip install pillow array_record`") from error
    except Exception as error:  # the readers below raise what they like
        raise DataError(
            f"{data_dir / name} does not hold intact array_record data ({_first_line(error)}): delete that folder and "
            "prepare it again, or choose another data_dir"
        ) from error


def _download_and_prepare(builder: Any) -> None:
    import tensorflow_datasets as tfds

    alternative = f"put prepared array_record data in {builder.data_dir}"
    if importlib.util.find_spec("tensorflow") is None:
        raise DataError(
            f"{builder.name} is not prepared yet: with network, run `pip install \"al_jax[tfds]\"` and try again; "
            f"without, {alternative}"
        )
    logging.info("Downloading and preparing %s in %s", builder.name, builder.data_dir)
    tfds.disable_progress_bar()
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except Exception as error:  # of requests, of TensorFlow or of the file system
        raise DataError(
            f"{builder.name} could not be downloaded and prepared ({_first_line(error)}): try again with network, or "
            f"{alternative}"
        ) from error


def _decode(source: Sequence[Any], shape: tuple[int, int, int]) -> Split:
    image = np.empty((len(source), *shape), np.uint8)
    label = np.empty(len(source), np.int32)
    for start in range(0, len(source), _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, len(source)))
        examples = source.__getitems__(range(rows.start, rows.stop))
        image[rows] = [example["image"] for example in examples]
        label[rows] = [example["label"] for example in examples]
    return Split(image, label)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
