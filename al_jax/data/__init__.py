"""Images as uint8 arrays in memory, the order they are read in, and what happens to them on the device."""

from al_jax.data.augment import (
    augment,
    augment_prepared,
    authors,
    random_contrast,
    random_crop,
    random_flip,
    standardise_each,
)
from al_jax.data.dataset import DataError, Dataset, Split
from al_jax.data.loading import load
from al_jax.data.order import drawn, epoch_order, gather, validation_split
from al_jax.data.prepare import half_range, imagenet_channels, standardise, subtract_mean, unit_range

__all__ = [
    "DataError",
    "Dataset",
    "Split",
    "augment",
    "augment_prepared",
    "authors",
    "drawn",
    "epoch_order",
    "gather",
    "half_range",
    "imagenet_channels",
    "load",
    "random_contrast",
    "random_crop",
    "random_flip",
    "standardise",
    "standardise_each",
    "subtract_mean",
    "unit_range",
    "validation_split",
]
