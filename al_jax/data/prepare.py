"""From uint8 images to what a network receives, on the device and inside jit.

A `Prepare` is `(image, key, train) -> image`, from uint8 `(B, H, W, C)` to float32 of the same shape, where
`train` is a Python bool.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.data.dataset import DataError, Split

Prepare = Callable[[jax.Array, jax.Array | None, bool], jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Affine:
    """`(image - shift) * scale`, a `Prepare`. No compiler can fuse the two roundings in this order: jit changes no bit.

    Attributes:
      shift: float32 array that broadcasts against `(B, H, W, C)`.
      scale: likewise.
    """

    shift: np.ndarray
    scale: np.ndarray

    def __call__(self, image: jax.Array, key: jax.Array | None, train: bool) -> jax.Array:
        return (jnp.asarray(image, jnp.float32) - self.shift) * self.scale

    def inverse(self, image: jax.Array) -> jax.Array:
        """Back to 0..255, up to rounding."""
        return image / self.scale + self.shift


def unit_range() -> Affine:
    """Scales 0..255 to 0..1; images that are floats from 0 to 1 already need no `Prepare`."""
    return _affine(0.0, 1 / 255)


def half_range() -> Affine:
    """Scales 0..255 to -1..1, as if the mean and standard deviation of 0..1 images were one half each."""
    return _affine(127.5, 1 / 127.5)


def imagenet_channels() -> Affine:
    """Shifts and scales each channel by the mean and standard deviation that are customary for ImageNet."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return _affine(255 * mean.reshape(1, 1, 1, -1), 1 / (255 * deviation.reshape(1, 1, 1, -1)))


def subtract_mean(train: Split) -> Affine:
    """Scales 0..255 to 0..1, less the training images' mean at every pixel and channel."""
    mean = train.image.mean(axis=0, keepdims=True, dtype=np.float64)
    return _affine(mean, 1 / 255)


def standardise(train: Split) -> Affine:
    """Shifts and scales each channel to mean 0 and standard deviation 1 over all training images.

    Raises:
      DataError: the training images are not of rows, columns and channels, or a channel is constant.
    """
    if train.image.ndim != 4:
        raise DataError(
            f"standardise takes images (N, H, W, C), and the training images are {train.image.shape}: reshape them, or "
            "use subtract_mean"
        )
    pixels = train.image[..., 0].size
    mean = np.einsum("nhwc->c", train.image, dtype=np.int64) / pixels
    # Unlike `std`, einsum makes no float64 copy of the images, and sums of integers are exact in any order.
    mean_square = np.einsum("nhwc,nhwc->c", train.image, train.image, dtype=np.int64) / pixels
    deviation = np.sqrt(mean_square - mean**2)
    if not deviation.all():
        raise DataError("a channel of the training images is constant and cannot be standardised: use subtract_mean")
    return _affine(mean.reshape(1, 1, 1, -1), 1 / deviation.reshape(1, 1, 1, -1))


def _affine(shift: np.ndarray | float, scale: np.ndarray | float) -> Affine:
    return Affine(np.asarray(shift, np.float32), np.asarray(scale, np.float32))
