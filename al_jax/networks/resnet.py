"""Residual networks for small images: a stem and three stages of 16, 32 and 64 channels (He et al. 2016)."""

import flax.linen as nn
import jax.numpy as jnp

from al_jax.arguments import whole
from al_jax.networks.layers import AUTHORS, HE, Activation, ConvLayer, Cuts, Stack, batch_norm, conv, cut, scaled

CHANNELS = (16, 32, 64)


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut: `(B, H, W, C) -> (B, H/stride, W/stride, width)`.

    `standard` is the unit of He et al. with a projection where the shape changes (their option B). The authors of
    Associated Learning activate before the addition too, their shortcut has no batch norm, and their convolutions have
    biases. Without an `activation` it has ReLU where it is standard, and ELU as theirs.
    """

    width: int
    stride: int = 1
    standard: bool = False
    activation: Activation | None = None
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, train):
        style = HE if self.standard else AUTHORS
        activation = self.activation or _own_activation(self.standard)
        y = conv(self.width, 3, self.stride, self.dtype, style)(x)
        y = activation(batch_norm(train, self.dtype, style)(y))
        y = conv(self.width, 3, 1, self.dtype, style)(y)
        y = batch_norm(train, self.dtype, style)(y)
        if not self.standard:
            y = activation(y)
        if x.shape[-1] != self.width or self.stride != 1:
            x = conv(self.width, 1, self.stride, self.dtype, style)(x)
            x = batch_norm(train, self.dtype, style)(x) if self.standard else x
        return activation(x + y)


def _own_activation(standard: bool) -> Activation:
    return nn.relu if standard else nn.elu


def resnet(
    depth: int,
    cuts: Cuts | None = None,
    width: float = 1.0,
    standard: bool = False,
    activation: Activation | None = None,
    dtype: jnp.dtype | None = None,
) -> tuple[Stack, ...]:
    """A stem and (depth - 2) / 2 residual units.

    Args:
      depth: 6n + 2 layers with n units in each of the three stages: 20, 32, 110, …
      cuts: stem and units in each block, or how many blocks of equal size; by default the stem and the three stages.
      width: factor on every number of channels.
      standard: the network of He et al., as InfoPro, AugLocal and MAN train it, in place of that of the Associated
        Learning authors.
      activation: in the units and after the stem; by default the ReLU of He et al., and otherwise the authors' ELU.
      dtype: what the layers compute in; parameters stay float32.

    Raises:
      ValueError: there is no network of this depth, or `cuts` does not add up to its stem and units.
    """
    units, rest = divmod(whole("depth", depth) - 2, 6)
    if rest or units < 1:
        raise ValueError(f"a residual network for small images has 6n + 2 layers (20, 32, 110, ...), not {depth}")
    activation = activation or _own_activation(standard)
    style = HE if standard else AUTHORS
    stem = ConvLayer(scaled(CHANNELS[0], width), norm=True, activation=activation, dtype=dtype, style=style)
    layers: list[nn.Module] = [stem]
    for stage, channels in enumerate(CHANNELS):
        for unit in range(units):
            stride = 2 if stage and not unit else 1
            layers.append(ResidualUnit(scaled(channels, width), stride, standard, activation, dtype))
    return cut(layers, (1, units, units, units) if cuts is None else cuts)
