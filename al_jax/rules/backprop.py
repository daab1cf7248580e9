"""End-to-end backpropagation: the rule that makes one single component of the whole network."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.arguments import whole
from al_jax.components import call_block, check_variables, component
from al_jax.losses import cross_entropy
from al_jax.rules.parts import (
    Bridge,
    CodeLayer,
    L2Kernels,
    Loss,
    PartFactory,
    check_l2,
    l2_penalty,
    part_of,
    scores_of,
    widths_of,
)
from al_jax.types import Network


class BackpropComponent(nn.Module):
    """Blocks, bridge and decoders in a row, linear scores and one loss; `(signal, train)` as any component."""

    blocks: tuple[nn.Module, ...]
    bridge: nn.Module
    decoders: tuple[nn.Module, ...]
    classes: int
    loss: Loss = cross_entropy
    l2: float = 0.0
    l2_kernels: L2Kernels = "blocks"

    def __call__(self, batch, train):
        losses = {"loss": self.loss(self.scores(batch["image"], train), batch["label"])}
        if self.l2:
            penalised = [self] if self.l2_kernels == "all" else self.blocks
            params = [part.variables.get("params", {}) for part in penalised]
            losses["l2"] = l2_penalty(self.l2, params, self.l2_kernels == "convolutions")
        return {}, losses

    def scores(self, x, train):
        for part in (*self.blocks, self.bridge, *self.decoders):
            x = call_block(part, x, train)
        return scores_of(x, self.classes)


def linear(x: jax.Array) -> jax.Array:
    """The identity, as an activation."""
    return x


def backprop(
    blocks: Sequence[nn.Module],
    classes: int,
    code: int | Sequence[int],
    *,
    bridge: PartFactory = functools.partial(Bridge, activation=nn.relu),
    decoder: PartFactory = functools.partial(CodeLayer, activation=nn.relu),
    head: PartFactory = functools.partial(CodeLayer, activation=linear),
    loss: Loss = cross_entropy,
    l2: float = 0.0,
    l2_kernels: L2Kernels = "blocks",
) -> Network:
    """Trains the inference path of `al.associated` end to end, the baseline with the same number of parameters.

    Args:
      blocks: the f's, Flax modules `(x)` or `(x, train)`, from the input upwards.
      classes: number of scores.
      code: as for `al.associated`; the layers above the top bridge have the widths of the codes, from the top down.
      bridge: the module above the blocks, or a function of the code width that makes one.
      decoder: the module that each layer from there down to the first code copies, or a function of its width.
      head: the module that makes the scores, or a function of `classes`.
      loss: `(scores, label) -> scalar`.
      l2: adds `l2 · Σ w² / 2` to the loss, as a loss of its own name.
      l2_kernels: over which kernels: those of the blocks, of their convolutions, or all.

    Raises:
      ValueError: there is no block or class, `code` does not give one width for each, or `l2` is not as said.
    """
    codes = widths_of(code, blocks)
    check_l2(l2, l2_kernels)
    decoders = (*(part_of(decoder, width) for width in reversed(codes[:-1])), part_of(head, classes))
    blocks = tuple(block.clone() for block in blocks)  # one instance given twice must not share parameters
    module = BackpropComponent(blocks, part_of(bridge, codes[-1]), decoders, classes, loss, l2, l2_kernels)

    def predict(variables, images, depth=None):
        """Scores `(B, classes)`; the network is one component, so `depth` can only be 1."""
        check_variables(variables, 1)
        if depth not in (None, 1):
            raise ValueError(f"depth is {depth}, allowed is 1: backpropagation trains one single component")
        return jnp.asarray(module.apply(variables[0], images, False, method="scores"), jnp.float32)

    return Network((component(module),), predict, (True,), classes=whole("classes", classes))
