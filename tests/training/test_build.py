"""The choices of config.augmentation, against every window that NumPy cuts out of a padded image."""

import jax
import numpy as np
import pytest

from al_jax.data import unit_range
from al_jax.training.build import build_prepare
from al_jax.training.config import default_config
from al_jax.training.facts import DataFacts

KEYS = 400


def windows(image, padding, mode, flips):
    padded, (height, width, _) = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode), image.shape
    places = [(row, column) for row in range(2 * padding + 1) for column in range(2 * padding + 1)]
    cut = [padded[row : row + height, column : column + width] for row, column in places]
    return {window.tobytes() for window in (*cut, *(window[:, ::-1] for window in cut if flips))}


@pytest.mark.parametrize(
    ("fields", "side", "expected"),
    [
        ({"augmentation": "reflect_crop_flip"}, 16, (2, "reflect", True)),
        ({"augmentation": "crop_flip"}, 16, (2, "constant", True)),
        ({"augmentation": "crop_flip", "padding": 1}, 16, (1, "constant", True)),
        ({"augmentation": "crop", "padding": 2}, 8, (2, "constant", False)),
        ({"augmentation": "jitter"}, 8, (2, "constant", False)),
        ({"augmentation": "resized_crop"}, 8, (0, "constant", False)),
    ],
)
def test_augmentations_cut_every_window_and_no_other(fields, side, expected):
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    prepare = build_prepare(default_config(**fields), DataFacts(10, image.shape, unit_range()))
    result = np.asarray(prepare(np.stack([image] * KEYS), jax.random.key(0), True)) * 255
    assert {own.tobytes() for own in np.rint(result).astype(np.uint8)} == windows(image, *expected)
