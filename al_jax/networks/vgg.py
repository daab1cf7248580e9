"""The VGG network of the Associated Learning paper, the "vgg8b" of Nøkland & Eidnes (2019)."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from al_jax.arguments import several, whole
from al_jax.networks.layers import Activation, ConvLayer, Cuts, Stack, cut, scaled
from al_jax.networks.mlp import DenseBlock

LAYERS = ((128, False), (256, True), (256, False), (512, True), (512, True), (512, True))  # width, max pooling


def vgg(
    cuts: Cuts = 4,
    dense: Sequence[int] = (1024, 1024),
    width: float = 1.0,
    norm: bool = False,
    activation: Activation = nn.elu,
    dtype: jnp.dtype | None = None,
) -> tuple[Stack, ...]:
    """Six 3x3 convolutions of 128 to 512 channels with four max poolings, then dense layers.

    Args:
      cuts: layers in each block, convolutions and dense ones, or how many blocks of equal size.
      dense: units of the dense layers; the authors' backprop network has none.
      width: factor on every width.
      norm: batch norm after every convolution, as in the authors' backprop network.
      activation: after every layer.
      dtype: what the layers compute in; parameters stay float32.

    Raises:
      ValueError: `cuts` does not add up to the number of layers, or `dense` is no sequence of whole numbers.
    """
    convolutions = [
        ConvLayer(scaled(channels, width), pool=pool, norm=norm, activation=activation, dtype=dtype)
        for channels, pool in LAYERS
    ]
    widths = [scaled(whole("a dense layer's width", units), width) for units in several("dense", dense)]
    return cut([*convolutions, *(DenseBlock(units, activation, dtype) for units in widths)], cuts)
