"""The small parts that the rules put between and above the blocks of a backbone."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.arguments import not_negative, several, whole
from al_jax.components import call_block, check_variables
from al_jax.networks.layers import batch_norm
from al_jax.types import Network, PyTree

Loss = Callable[[jax.Array, jax.Array], jax.Array]
L2Kernels = Literal["blocks", "convolutions", "all"]
PartFactory = nn.Module | Callable[[int], nn.Module]
Parts = PartFactory | Sequence[PartFactory]
Branches = Sequence[nn.Module | None]


def scores_of(scores: jax.Array, classes: int) -> jax.Array:
    """The scores, if they are `(B, classes)`: with fewer, a label without a score makes a loss of NaN."""
    if scores.shape[1:] != (classes,):
        raise ValueError(f"the scores are {scores.shape}: of {classes} classes they must be (B, {classes})")
    return scores


class CodeLayer(nn.Module):
    """One dense layer from code to code: g and h of Associated Learning, `(B, m) -> (B, width)`.

    `norm` puts batch norm before the activation, as the authors' backprop baselines do.
    """

    width: int
    activation: Callable[[jax.Array], jax.Array] = nn.sigmoid
    dtype: jnp.dtype | None = None
    norm: bool = False

    @nn.compact
    def __call__(self, code, train=False):
        code = nn.Dense(self.width, kernel_init=nn.initializers.he_normal(), dtype=self.dtype)(code)
        if self.norm:
            code = batch_norm(train, self.dtype)(code)
        return self.activation(code)


class Bridge(nn.Module):
    """From features to code: on request a lead and a pooling, then flatten, `expansion · width` units, `width` units.

    `(B, ...) -> (B, width)`. The paper's bridge flattens the features as they are. A pooled one costs a small part of
    it: `(B, H, W, C)` becomes `(B, pool, pool, C)` first. A lead is a module that sees the features before that, for
    example a block shaped like the next stage. The paper's hidden units are sigmoids as the code's are; `hidden` gives
    them another activation, and with an `expansion` of 0 there are none.
    """

    width: int
    expansion: int = 5
    activation: Callable[[jax.Array], jax.Array] = nn.sigmoid
    hidden: Callable[[jax.Array], jax.Array] | None = None
    dtype: jnp.dtype | None = None
    norm: bool = False
    pool: int | None = None
    lead: nn.Module | None = None

    @nn.compact
    def __call__(self, features, train=False):
        if self.lead is not None:
            features = call_block(self.lead, features, train)
        if self.pool is not None and features.ndim == 4:
            features = average_pool(features, whole("pool", self.pool))
        code = features.reshape(len(features), -1)
        if self.expansion:
            hidden = self.hidden or self.activation
            code = CodeLayer(self.expansion * self.width, hidden, self.dtype, self.norm)(code, train)
        return CodeLayer(self.width, self.activation, self.dtype, self.norm)(code, train)


class NoBridge(nn.Module):
    """The paper's Equation 2, without a bridge: the features themselves, flattened, are compared with the code.

    `(B, ...) -> (B, n)`. With a `width` it refuses features that are not as wide as the code.
    """

    width: int | None = None

    @nn.compact
    def __call__(self, features):
        code = features.reshape(len(features), -1)
        if self.width not in (None, code.shape[1]):
            raise ValueError(
                f"without a bridge the code is as wide as the features, {code.shape[1]} here and not {self.width}: "
                "give code that width, al.associated one for each component, or choose a bridge"
            )
        return code


def average_pool(features: jax.Array, size: int) -> jax.Array:
    """Means over `size` by `size` windows that cover the image, `(B, H, W, C) -> (B, size, size, C)`.

    Where the height does not divide, windows overlap by a pixel; an image smaller than that stays as it is.
    """

    def weights(length: int) -> np.ndarray:
        windows = np.zeros((size, length), np.float32)
        for index in range(size):
            start, end = index * length // size, -(-(index + 1) * length // size)
            windows[index, start:end] = 1 / (end - start)
        return windows

    for axis, length in ((1, features.shape[1]), (2, features.shape[2])):
        if length > size:
            pooled = jnp.tensordot(weights(length).astype(features.dtype), features, axes=(1, axis))
            features = jnp.moveaxis(pooled, 0, axis)
    return features


def check_blocks(blocks: Sequence[nn.Module]) -> None:
    """Refuses what is no sequence of Flax modules, or empty."""
    if not isinstance(blocks, Sequence) or not all(isinstance(block, nn.Module) for block in blocks):
        raise ValueError("blocks must be a sequence of Flax modules (Linen, instances), as al.networks.mlp([16]) gives")
    if not blocks:
        raise ValueError("a network needs at least one block")


def check_rule(rule: Any, name: str, call: str) -> None:
    """Refuses a network in place of the rule that makes it, and what is no function; `call` is right."""
    if not callable(rule):
        given = "the network of one" if isinstance(rule, Network) else repr(rule)
        raise ValueError(f"{name} takes a rule, not {given}: {call}(blocks, classes)")


def branches_of(branches: Branches | None, blocks: Sequence[nn.Module]) -> tuple[nn.Module | None, ...]:
    """A branch or None for each block; the top one, which makes the scores of the network, has none."""
    found = (None,) * len(blocks) if branches is None else several("branches", branches)
    if len(found) != len(blocks):
        raise ValueError(f"{len(found)} branches are given for {len(blocks)} blocks: give one, or None, for each")
    if not all(branch is None or isinstance(branch, nn.Module) for branch in found):
        raise ValueError(f"branches is {found}: each must be a Flax module (of a class, an instance) or None")
    if found[-1] is not None:
        raise ValueError("the top component makes the network's scores, so it has no branch: give None for it")
    return found


def widths_of(code: int | Sequence[int], blocks: Sequence[nn.Module]) -> tuple[int, ...]:
    """One code width for each block."""
    check_blocks(blocks)
    codes = tuple(whole("code", width) for width in np.atleast_1d(np.asarray(code, object)))
    codes = codes * len(blocks) if np.ndim(code) == 0 else codes
    if len(codes) != len(blocks):
        raise ValueError(f"code gives {len(codes)} widths for {len(blocks)} blocks: give one number, or one for each")
    return codes


def up_to(depth: int | None, modules: Sequence[nn.Module], variables: Sequence[Any]) -> list[tuple[Any, Any]]:
    """The first `depth` modules with their variables, all for None."""
    check_variables(variables, len(modules))
    depth = len(modules) if depth is None else depth
    if not 1 <= depth <= len(modules):
        raise ValueError(f"depth is {depth}, allowed are 1 to {len(modules)}")
    return list(zip(modules, variables, strict=True))[:depth]


def lifted(chain: Sequence[tuple[Any, Any]], images: jax.Array) -> Iterator[jax.Array]:
    """The features above the first 1, 2, … of these modules with their variables, in inference."""
    features = images
    for module, own in chain:
        features = module.apply(own, features, False, method="lift")
        yield features


def predictions(modules: Sequence[nn.Module], scores: Callable[[Any, jax.Array], jax.Array]):
    """A network's `predict` and `anytime`; `scores` makes `(B, classes)` of a chain and the features above it."""

    def predict(variables, images, depth=None):
        chain = up_to(depth, modules, variables)
        return scores(chain, list(lifted(chain, images))[-1])

    def anytime(variables, images, depth=None):
        chain = up_to(depth, modules, variables)
        return jnp.stack([scores(chain[: k + 1], features) for k, features in enumerate(lifted(chain, images))])

    return predict, anytime


def parts_of(parts: Parts, widths: Sequence[int]) -> list[nn.Module]:
    """One part for each width: from a module or a function for all of them, or from one of these for each."""
    given = list(parts) if isinstance(parts, Sequence) and not isinstance(parts, str) else [parts] * len(widths)
    if len(given) != len(widths):
        raise ValueError(f"{len(given)} parts are given for {len(widths)} blocks: give one for all, or one for each")
    return [part_of(part, width) for part, width in zip(given, widths, strict=True)]


def copy_of(name: str, module: nn.Module) -> nn.Module:
    """A copy of the module, so that no two components share parameters."""
    if not isinstance(module, nn.Module):
        raise ValueError(f"{name} is {module!r}: it must be a Flax module; of a class, give an instance")
    return module.clone()


def part_of(part: PartFactory, width: int) -> nn.Module:
    """A copy of the module, so that no two parts share parameters, or what the function makes for this width."""
    made = part.clone() if isinstance(part, nn.Module) else part(width) if callable(part) else part
    if not isinstance(made, nn.Module):
        raise ValueError(f"{made!r} is no Flax module: give one, or a function of the width that makes one")
    return made


def check_l2(weight: float, kernels: str) -> None:
    """Refuses negative weights, and kernels of no known kind."""
    not_negative("l2", weight)
    if kernels not in get_args(L2Kernels):
        raise ValueError(f"l2_kernels is {kernels!r}: choose from {', '.join(get_args(L2Kernels))}")


def l2_penalty(weight: float, params: PyTree, convolutions: bool = False) -> jax.Array:
    """`weight · Σ w² / 2` over every kernel in the tree, or over those of convolutions.

    Biases and normalisation go free, as in the authors' code.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    kernels = [leaf for path, leaf in leaves if path[-1] == jax.tree_util.DictKey("kernel")]
    if convolutions:
        kernels = [kernel for kernel in kernels if kernel.ndim == 4]
    return weight / 2 * sum((jnp.sum(jnp.square(kernel)) for kernel in kernels), start=jnp.float32(0))
