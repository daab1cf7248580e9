"""From uint8 images to what a network receives, on the device and inside jit.

A `Prepare` maps a batch `(image, key, train)` to float32 images of the same shape `(B, H, W, C)`; `train` is a Python
bool. An `Augmentation` maps one image `(H, W, C)` and a key to an image of the same shape and dtype.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.data.dataset import DataError, Split

Prepare = Callable[[jax.Array, jax.Array | None, bool], jax.Array]
Augmentation = Callable[[jax.Array, jax.Array], jax.Array]


def unit_range() -> Prepare:
    """Scales 0..255 to 0..1."""
    return lambda image, key, train: image.astype(jnp.float32) / 255


def subtract_mean(train: Split) -> Prepare:
    """Scales to 0..1 and subtracts the training images' mean at each pixel and channel, as the AL paper does."""
    mean = train.image.mean(axis=0, keepdims=True, dtype=np.float64) / 255
    return _normalise(mean, np.ones(1))


def standardise(train: Split) -> Prepare:
    """Gives every channel mean 0 and standard deviation 1 over the pixels of the training images.

    Raises:
      DataError: a channel has the same value everywhere.
    """
    pixels = train.image[..., 0].size
    mean = train.image.sum(axis=(0, 1, 2), dtype=np.int64) / pixels
    # Sums of integers are exact in any order, and einsum makes no wide copy of the images.
    square = np.einsum("nhwc,nhwc->c", train.image, train.image, dtype=np.int64) / pixels
    ...
