"""Images as uint8 arrays, in memory or read from disk, the order they come in, and what the device does to them."""

from al_jax.data.augment import (
    augment,
    augment_prepared,
    authors,
    random_contrast,
    random_crop,
    random_flip,
    standardise_each,
)
from al_jax.data.dataset import DataError, Dataset, Examples, Split, in_memory
from al_jax.data.loading import STREAMED, load
from al_jax.data.order import batches_in_part, drawn, epoch_order, gather, validation_split
from al_jax.data.prepare import half_range, imagenet_channels, standardise, subtract_mean, unit_range
from al_jax.data.sizes import size_of
from al_jax.data.stream import Stream

__all__ = [
    "STREAMED",
    "DataError",
    "Dataset",
    "Examples",
    "Split",
    "Stream",
    "augment",
    "augment_prepared",
    "authors",
    "batches_in_part",
    "drawn",
    "epoch_order",
    "gather",
    "half_range",
    "imagenet_channels",
    "in_memory",
    "load",
    "random_contrast",
    "random_crop",
    "random_flip",
    "size_of",
    "standardise",
    "standardise_each",
    "subtract_mean",
    "unit_range",
    "validation_split",
]
