"""Classifiers that stand above blocks: the plain one of the network's top, and auxiliary heads.

All take features `(B, H, W, C)`, and all but `ImageHead` also `(B, C)`, as of networks without convolutions, and give
scores `(B, classes)`. Dense kernels are drawn as PyTorch draws them, U(±1/√inputs), and biases are zero.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.arguments import whole
from al_jax.networks.layers import HE, batch_norm, conv, scaled
from al_jax.rules.parts import average_pool


def dense(width: int, use_bias: bool = True, dtype: jnp.dtype | None = None) -> nn.Dense:
    """A dense layer drawn as PyTorch draws it."""
    init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    return nn.Dense(width, use_bias=use_bias, kernel_init=init, dtype=dtype)


class PooledClassifier(nn.Module):
    """Global average, one dense layer: the top of a residual network."""

    classes: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, features):
        return dense(self.classes, dtype=self.dtype)(global_average(features))


class MlpSrHead(nn.Module):
    """The auxiliary network "MLP-SR-aux" of DGL (Belilovsky et al. 2020).

    Features are averaged to a quarter of their height, go through three 1x1 convolutions, are averaged to 2x2, and go
    through `layers` dense layers as wide as that. The authors use three, AugLocal (Ma et al. 2024) two. Convolutions
    have `width` times the channels of the features.
    """

    classes: int
    layers: int = 3
    width: float = 1.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, features, train):
        x = features
        if x.ndim == 4:
            x = average_pool(x, math.ceil(x.shape[1] / 4))
            channels = scaled(x.shape[-1], self.width)
            for _ in range(3):
                x = conv(channels, 1, 1, self.dtype, HE)(x)
                x = nn.relu(batch_norm(train, self.dtype, HE)(x))
            x = average_pool(x, 2)
        x = x.reshape(len(x), -1)
        for _ in range(whole("layers", self.layers)):
            x = dense(x.shape[-1], use_bias=False, dtype=self.dtype)(x)
            x = nn.relu(batch_norm(train, self.dtype, HE)(x))
        return dense(self.classes, dtype=self.dtype)(x)


class WideHead(nn.Module):
    """The auxiliary network of DGL in the code of MAN++ (Su et al. 2025), larger than a whole ResNet-32.

    `(B, H, W, C)` or `(B, C)` to `(B, classes)`. Three 1x1 convolutions to `channels` at 8x8 pixels at most, a global
    average, three dense layers four times as wide, all with biases.
    """

    classes: int
    channels: int = 128
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, features, train):
        x = features
        if x.ndim == 4:
            x = average_pool(x, 8)
            for _ in range(3):
                x = conv(self.channels, 1, 1, self.dtype, HE._replace(bias=True))(x)
                x = nn.relu(batch_norm(train, self.dtype, HE)(x))
        x = global_average(x)
        for _ in range(3):
            x = nn.relu(batch_norm(train, self.dtype, HE)(dense(4 * self.channels, dtype=self.dtype)(x)))
        return dense(self.classes, dtype=self.dtype)(x)


class ConvHead(nn.Module):
    """The auxiliary classifier of InfoPro (Wang et al. 2021): `convolutions` of them, then two dense layers.

    The first convolution doubles the channels and halves the image, up to `most` channels; with one convolution it is
    their "1c2f", with two their "2c2f". All have `width` times these channels.
    """

    classes: int
    convolutions: int = 1
    hidden: int = 128
    most: int = 64
    width: float = 1.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, features, train):
        x = features
        if x.ndim == 4:
            channels = min(2 * x.shape[-1], max(self.most, x.shape[-1]))
            stride = 2 if channels > x.shape[-1] else 1
            for index in range(whole("convolutions", self.convolutions)):
                x = conv(scaled(channels, self.width), 3, stride if index == 0 else 1, self.dtype, HE)(x)
                x = nn.relu(batch_norm(train, self.dtype, HE)(x))
        x = nn.relu(dense(self.hidden, dtype=self.dtype)(global_average(x)))
        return dense(self.classes, dtype=self.dtype)(x)


class ImageHead(nn.Module):
    """InfoPro's auxiliary classifier for large images: four convolutions, two of them strided, and a global average.

    `(B, H, W, C) -> (B, classes)`; it takes no flat features.
    """

    classes: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, features, train):
        if features.ndim != 4:
            raise ValueError(f"features of shape {features.shape} are no images (B, H, W, C): take a ConvHead")
        x = features
        narrow = 256 if x.shape[-1] >= 1024 else 128
        for width, size, stride in ((narrow, 1, 1), (256, 3, 2), (512, 3, 2), (2048, 1, 1)):
            x = conv(width, size, stride, self.dtype, HE)(x)
            x = nn.relu(batch_norm(train, self.dtype, HE)(x))
        return dense(self.classes, dtype=self.dtype)(global_average(x))


class AveragedClassifier(nn.Module):
    """The classifier of PredSim: features are averaged until at most `inputs` are left, then one dense layer.

    Windows double in height and width in turn (Nøkland & Eidnes 2019), as 512 inputs out of 16 channels of 32x32
    pixels take windows of 8x4.
    """

    classes: int
    inputs: int = 512
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, features):
        x = features
        if x.ndim == 4:
            x = _averaged(x, _window(x.shape[1:], self.inputs))
        return dense(self.classes, dtype=self.dtype)(x.reshape(len(x), -1))


def _window(shape: tuple[int, int, int], inputs: int) -> tuple[int, int]:
    height, width, channels = shape
    window = [1, 1]
    while -(-height // window[0]) * -(-width // window[1]) * channels > inputs and window != [height, width]:
        axis = 0 if (window[0] <= window[1] and window[0] < height) or window[1] >= width else 1
        window[axis] = min(2 * window[axis], (height, width)[axis])
    return window[0], window[1]


def _averaged(x: jax.Array, window: tuple[int, int]) -> jax.Array:
    """Means over windows; where they do not fill the image, it is surrounded by zeros, which count."""
    missing = [-size % own for size, own in zip(x.shape[1:3], window, strict=True)]
    x = jnp.pad(x, ((0, 0), *((own // 2, own - own // 2) for own in missing), (0, 0)))
    rows, columns = (size // own for size, own in zip(x.shape[1:3], window, strict=True))
    return x.reshape(len(x), rows, window[0], columns, window[1], x.shape[-1]).mean((2, 4))


def global_average(features: jax.Array) -> jax.Array:
    """`(B, H, W, C) -> (B, C)`; flat features stay as they are."""
    return features.mean((1, 2)) if features.ndim == 4 else features.reshape(len(features), -1)
