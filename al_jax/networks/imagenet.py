"""Residual networks and a VGG for images of 224x224, as torchvision has them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from al_jax.networks.layers import HE, Activation, ConvLayer, Cuts, Stack, batch_norm, conv, cut, max_pool, scaled

STEM = 64  # channels


class Plan(NamedTuple):
    """A residual network: units of each stage, channels of the first stage's 3x3 convolutions, and their groups."""

    units: tuple[int, ...]
    inner: int = 64
    groups: int = 1


RESNETS: Mapping[str, Plan] = MappingProxyType(
    {
        "resnet101": Plan((3, 4, 23, 3)),
        "resnet152": Plan((3, 8, 36, 3)),
        "resnext101": Plan((3, 4, 23, 3), inner=32 * 8, groups=32),
    }
)
OUTER = 256  # channels that the first stage hands up; every later stage has twice as many, outer and inner
VGG13 = (64, 128, 256, 512, 512)  # channels of each pair of convolutions
VGG_STYLE = HE._replace(bias=True)


class ImageStem(nn.Module):
    """Strided 7x7 convolution with batch norm and strided 3x3 max pooling: `(B, H, W, C) -> (B, H/4, W/4, width)`."""

    width: int = STEM
    activation: Activation = nn.relu
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, train):
        x = conv(self.width, 7, 2, self.dtype, HE)(x)
        x = self.activation(batch_norm(train, self.dtype, HE)(x))
        return nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))


class BottleneckUnit(nn.Module):
    """Three convolutions with batch norm beside a shortcut: `(B, H, W, C) -> (B, H/stride, W/stride, width)`.

    The 3x3 convolution of `inner` channels, between two of 1x1, has the stride (version 1.5) and, in a ResNeXt, groups.
    The shortcut is a 1x1 convolution with batch norm where the shape changes.
    """

    width: int
    inner: int
    stride: int = 1
    groups: int = 1
    activation: Activation = nn.relu
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, train):
        def normed(x, width, size, stride=1, groups=1):
            return batch_norm(train, self.dtype, HE)(conv(width, size, stride, self.dtype, HE, groups)(x))

        y = self.activation(normed(x, self.inner, 1))
        y = self.activation(normed(y, self.inner, 3, self.stride, self.groups))
        y = normed(y, self.width, 1)
        if x.shape[-1] != self.width or self.stride != 1:
            x = normed(x, self.width, 1, self.stride)
        return self.activation(x + y)


class MaxPool(nn.Module):
    """2x2 max pooling as a layer: `(B, H, W, C) -> (B, H/2, W/2, C)`."""

    def __call__(self, x):
        return max_pool(x)


class VggHead(nn.Module):
    """The classifier of a VGG with its last max pooling: `(B, H, W, C) -> (B, classes)`.

    AugLocal drops half of the hidden units out, DGL none; both draw kernels with a deviation of 0.01.
    """

    classes: int = 1000
    units: int = 4096
    dropout: float = 0.5
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, train):
        def dense(width):
            return nn.Dense(width, kernel_init=nn.initializers.normal(0.01), dtype=self.dtype)

        x = max_pool(x).reshape(len(x), -1)
        for _ in range(2):
            x = nn.relu(dense(self.units)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return dense(self.classes)(x)


def imagenet_resnet(
    name: str,
    cuts: Cuts | None = None,
    width: float = 1.0,
    activation: Activation = nn.relu,
    dtype: jnp.dtype | None = None,
) -> tuple[Stack, ...]:
    """A stem and four stages of bottleneck units.

    Args:
      name: `resnet101`, `resnet152` or `resnext101`, the one of 32 groups of 8 channels.
      cuts: stem and units in each block, or how many blocks of equal size; by default the stem and the four stages.
      width: factor on every number of channels; groups stay as many, each of one channel at least.
      activation: in the units and in the stem.
      dtype: what the layers compute in; parameters stay float32.

    Raises:
      ValueError: there is no such network, or `cuts` does not add up to its stem and units.
    """
    if name not in RESNETS:
        raise ValueError(f"residual networks for ImageNet are {', '.join(RESNETS)}, not {name!r}")
    units, inner, groups = RESNETS[name]
    layers: list[nn.Module] = [ImageStem(scaled(STEM, width), activation, dtype)]
    for stage, number in enumerate(units):
        outer = scaled(OUTER * 2**stage, width)
        group = scaled(inner * 2**stage // groups, width)
        for unit in range(number):
            stride = 2 if stage and not unit else 1
            layers.append(BottleneckUnit(outer, group * groups, stride, groups, activation, dtype))
    return cut(layers, (1, *units) if cuts is None else cuts)


def vgg13(
    cuts: Cuts = 10,
    width: float = 1.0,
    activation: Activation = nn.relu,
    dtype: jnp.dtype | None = None,
) -> tuple[Stack, ...]:
    """Ten 3x3 convolutions with batch norm, in five pairs of 64 to 512 channels; `VggHead` belongs on top.

    As in AugLocal and DGL, the max pooling between two pairs opens the layer above it; the fifth and last opens the
    head. The features of an image of 224x224 have `(14, 14, 512)`.

    Args:
      cuts: layers in each block, or how many blocks of equal size.
      width: factor on every number of channels.
      activation: after every layer.
      dtype: what the layers compute in; parameters stay float32.

    Raises:
      ValueError: `cuts` does not add up to ten.
    """

    def layer(channels: int) -> ConvLayer:
        return ConvLayer(scaled(channels, width), norm=True, activation=activation, dtype=dtype, style=VGG_STYLE)

    layers: list[nn.Module] = []
    for pair, channels in enumerate(VGG13):
        first = layer(channels)
        layers += [Stack((MaxPool(), first)) if pair else first, layer(channels)]
    return cut(layers, cuts)
