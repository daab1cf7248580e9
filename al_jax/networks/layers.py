"""Layers of convolutional backbones, and how a row of them is cut into blocks."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.arguments import several, whole
from al_jax.components import call_block
from al_jax.networks.convolution import conv_general_dilated

Activation = Callable[[jax.Array], jax.Array]
Cuts = Sequence[int] | int


class Style(NamedTuple):
    """What convolutions and batch norms of one family of networks have in common.

    Attributes:
      kernel_init: draws the kernels.
      bias: whether convolutions have one.
      centred: whether kernels are centred on the even pixels where they are strided, as strided shortcuts are. That
        takes padding by half a kernel on every side; "SAME" is one pixel further in images of even size.
      momentum, epsilon: of batch norm.
    """

    kernel_init: nn.initializers.Initializer
    bias: bool
    centred: bool
    momentum: float
    epsilon: float


# The Associated Learning authors': TensorFlow's defaults, but for the kernels.
AUTHORS = Style(nn.initializers.he_normal(), bias=True, centred=False, momentum=0.99, epsilon=1e-3)
# That of He et al. as PyTorch networks have it: kernels of variance 2 / (k · k · C_out).
HE = Style(
    nn.initializers.variance_scaling(2.0, "fan_out", "normal"), bias=False, centred=True, momentum=0.9, epsilon=1e-5
)


class ConvLayer(nn.Module):
    """3x3 convolution, optional batch norm, activation, optional 2x2 max pooling.

    `(B, H, W, C) -> (B, H', W', width)`, where a stride or a pooling of 2 halves height and width; an image of one row
    or column is not pooled.
    """

    width: int
    stride: int = 1
    pool: bool = False
    norm: bool = False
    activation: Activation = nn.elu
    dtype: jnp.dtype | None = None
    style: Style = AUTHORS

    @nn.compact
    def __call__(self, x, train):
        x = conv(self.width, 3, self.stride, self.dtype, self.style)(x)
        if self.norm:
            x = batch_norm(train, self.dtype, self.style)(x)
        x = self.activation(x)
        return max_pool(x) if self.pool else x


class Stack(nn.Module):
    """Layers one after another, as one block.

    With `remat` a gradient computes the inside of each layer anew and keeps only what stands between them: less memory
    for about a third more time.
    """

    layers: tuple[nn.Module, ...]
    remat: bool = False

    def __call__(self, x, train):
        for layer in self.layers:
            if self.remat:
                x = nn.remat(lambda layer, x: call_block(layer, x, train))(layer, x)
            else:
                x = call_block(layer, x, train)
        return x


def conv(
    width: int, size: int, stride: int, dtype: jnp.dtype | None, style: Style = AUTHORS, groups: int = 1
) -> nn.Conv:
    """A convolution whose output is as large as its input over the stride; kernels have odd sizes."""
    return nn.Conv(
        width,
        (size, size),
        strides=stride,
        padding=size // 2 if style.centred else "SAME",
        feature_group_count=groups,
        use_bias=style.bias,
        kernel_init=style.kernel_init,
        dtype=dtype,
        conv_general_dilated=conv_general_dilated,
    )


def batch_norm(train: bool, dtype: jnp.dtype | None, style: Style = AUTHORS) -> nn.BatchNorm:
    """Batch norm, of the batch in training and of running averages in evaluation."""
    return nn.BatchNorm(use_running_average=not train, momentum=style.momentum, epsilon=style.epsilon, dtype=dtype)


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 max pooling, `(B, H, W, C) -> (B, H/2, W/2, C)`; an image of one row or column stays as it is."""
    return nn.max_pool(x, (2, 2), (2, 2)) if min(x.shape[1:3]) > 1 else x


def cut(layers: Sequence[nn.Module], cuts: Cuts) -> tuple[Stack, ...]:
    """Blocks of so many layers each, from the input upwards; a layer that is there twice is copied.

    Args:
      layers: all of them.
      cuts: layers in each block, or how many blocks, then as even as possible and the larger ones first.

    Raises:
      ValueError: layers are not several, the blocks do not take every layer, or one is empty.
    """
    layers = several("layers", layers)
    sizes: list[int] = np.asarray(cuts).tolist() if np.ndim(cuts) else _even(len(layers), whole("cuts", cuts))
    if not all(isinstance(size, int) and size > 0 for size in sizes) or sum(sizes) != len(layers):
        raise ValueError(
            f"cuts is {tuple(sizes)}: it must cut {len(layers)} layers into blocks of at least one, in whole numbers"
        )
    copies = (layer.clone() for layer in layers)
    return tuple(Stack(tuple(itertools.islice(copies, size))) for size in sizes)


def _even(layers: int, blocks: int) -> list[int]:
    if blocks > layers:
        raise ValueError(f"{layers} layers cannot be cut into {blocks} blocks")
    return [layers // blocks + (index < layers % blocks) for index in range(blocks)]


def rematerialised(blocks: Sequence[nn.Module]) -> tuple[nn.Module, ...]:
    """The same blocks, but stacks of layers with `remat`, where parameters keep their places."""
    return tuple(block.clone(remat=True) if isinstance(block, Stack) else block for block in blocks)


def scaled(width: int, factor: float) -> int:
    """A layer's width times a factor, at least one.

    Raises:
      ValueError: the factor is not above 0.
    """
    if not factor > 0:
        raise ValueError(f"a layer's width cannot be {factor} times what it is: give a factor above 0")
    return max(1, round(width * factor))
