"""The small parts that the rules put between and above the blocks of a backbone."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.types import PyTree


class CodeLayer(nn.Module):
    """One dense layer from code to code: g and h of Associated Learning, `(B, m) -> (B, width)`."""

    width: int
    activation: Callable[[jax.Array], jax.Array] = nn.sigmoid
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, code):
        dense = nn.Dense(self.width, kernel_init=nn.initializers.he_normal(), dtype=self.dtype)
        return self.activation(dense(code))


class Bridge(nn.Module):
    """The paper's bridge from features to code: flatten, `expansion · width` units, `width` units."""

    width: int
    expansion: int = 5
    activation: Callable[[jax.Array], jax.Array] = nn.sigmoid
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, features):
        code = features.reshape(len(features), -1)
        for width in (self.expansion * self.width, self.width):
            code = CodeLayer(width, self.activation, self.dtype)(code)
        return code


def widths_of(code: int | Sequence[int], blocks: Sequence[nn.Module]) -> tuple[int, ...]:
    """One code width for each block."""
    if not blocks:
        raise ValueError("a network needs at least one block")
    codes = tuple(code) if isinstance(code, Sequence) else (int(code),) * len(blocks)
    if len(codes) != len(blocks):
        raise ValueError(f"code gives {len(codes)} widths for {len(blocks)} blocks: give one number, or one for each")
    return codes


def part_of(part: nn.Module | Callable[[int], nn.Module], width: int) -> nn.Module:
    """A copy of the module, so that no two parts share parameters, or what the function makes for this width."""
    return part.clone() if isinstance(part, nn.Module) else part(width)


def l2_penalty(weight: float, params: PyTree) -> jax.Array:
    """`weight · Σ w² / 2` over every kernel in the tree; biases and normalisation go free, as in the authors' code."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    kernels = [leaf for path, leaf in leaves if path[-1] == jax.tree_util.DictKey("kernel")]
    return weight / 2 * sum((jnp.sum(jnp.square(kernel)) for kernel in kernels), start=jnp.float32(0))
