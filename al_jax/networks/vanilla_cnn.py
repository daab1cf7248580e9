"""The "vanilla" convolutional network of the Associated Learning paper."""

import flax.linen as nn
import jax.numpy as jnp

from al_jax.networks.layers import Activation, ConvLayer, Cuts, Stack, cut, scaled

LAYERS = ((32, 1), (32, 1), (32, 1), (32, 2), (64, 1), (64, 1), (64, 1), (64, 2))  # width, stride


def vanilla_cnn(
    cuts: Cuts = 4,
    width: float = 1.0,
    activation: Activation = nn.elu,
    dtype: jnp.dtype | None = None,
) -> tuple[Stack, ...]:
    """Eight 3x3 convolutions of 32 to 64 channels, two of them strided; no pooling, no batch norm.

    Args:
      cuts: convolutions in each block, or how many blocks of equal size; the authors' code has four pairs.
      width: factor on every number of channels.
      activation: after every layer.
      dtype: what the layers compute in; parameters stay float32.

    Raises:
      ValueError: `cuts` does not add up to eight.

    Example:
      The six components that the paper describes: five convolutions with a code each, and above them a bridge of the
      other three and a dense layer.

      >>> import functools, al_jax as al
      >>> from al_jax.rules import Bridge
      >>> *below, top = vanilla_cnn((1, 1, 1, 1, 1, 3))
      >>> sixth = functools.partial(Bridge, expansion=0, lead=top)
      >>> codes = (256, 256, 256, 256, 1280)
      >>> network = al.associated(below, classes=10, code=codes, bridge=[*[Bridge] * 4, sixth])
    """
    layers = [
        ConvLayer(scaled(channels, width), stride, activation=activation, dtype=dtype) for channels, stride in LAYERS
    ]
    return cut(layers, cuts)
