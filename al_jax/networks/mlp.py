"""Fully connected networks."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.arguments import several, whole


class DenseBlock(nn.Module):
    """One dense layer and its activation on the flattened input: `(B, ...) -> (B, width)`."""

    width: int
    activation: Callable[[jax.Array], jax.Array] = nn.elu
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x):
        dense = nn.Dense(self.width, kernel_init=nn.initializers.he_normal(), dtype=self.dtype)
        return self.activation(dense(x.reshape(len(x), -1)))


def mlp(
    widths: Sequence[int],
    activation: Callable[[jax.Array], jax.Array] = nn.elu,
    dtype: jnp.dtype | None = None,
) -> tuple[nn.Module, ...]:
    """The blocks of a multi-layer perceptron, one a layer; the head is the rule's.

    Args:
      widths: units of each layer.
      activation: after every layer.
      dtype: what the layers compute in; parameters stay float32.

    Raises:
      ValueError: there is no width, or one is no whole number of at least 1.
    """
    widths = several("widths", widths)
    if not widths:
        raise ValueError("widths is empty: give the units of at least one layer")
    return tuple(DenseBlock(whole("a width", width), activation, dtype) for width in widths)
