"""A decoded data set in one file: an uncompressed .npz archive, then the 32 bytes of its SHA-256.

The checksum covers every byte before it, so a flipped bit or a truncation anywhere is noticed. `numpy.load`
ignores what follows an archive.
"""

import hashlib
import io
import os
import uuid
from pathlib import Path

import numpy as np
from absl import logging

from al_jax.data.dataset import DataError, Dataset, Split, in_memory

_CHECKSUM_BYTES = hashlib.sha256().digest_size


def read(path: Path, name: str) -> Dataset:
    """Reads the data set called `name` from `path`.

    Raises:
      DataError: the file is not as `write` left it.
    """
    content = path.read_bytes()
    archive, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if hashlib.sha256(archive).digest() != checksum:
        raise DataError(f"{path} is damaged (its checksum does not match): delete it and run again")
    with np.load(io.BytesIO(archive)) as arrays:
        train, test = (Split(arrays[f"{split}_image"], arrays[f"{split}_label"]) for split in ("train", "test"))
        return Dataset(name, train, test, int(arrays["classes"]))


def write(path: Path, dataset: Dataset) -> None:
    """Puts the data set at `path` at once and whole, or logs one warning where the file system refuses."""
    archive, train, test = io.BytesIO(), in_memory(dataset.train), in_memory(dataset.test)
    np.savez(
        archive,
        train_image=train.image,
        train_label=train.label,
        test_image=test.image,
        test_label=test.label,
        classes=dataset.classes,
    )
    # A name of its own lets two processes write at the same time; the later one wins, with the same bytes.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(archive.getbuffer())
                file.write(hashlib.sha256(archive.getbuffer()).digest())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        logging.warning("%s is not cached, so the next run decodes it again: %s", dataset.name, error)
