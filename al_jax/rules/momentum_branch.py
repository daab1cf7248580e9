"""What stands between a component's features and its loss under `al.momentum`: η'(x) + η''(x)."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.components import call_block
from al_jax.networks.layers import Stack

AVERAGE = "momentum"  # the collection of variables in which η'' lies
PASSED_ON = "passed_on"  # that of weights which the component below wants, and this one only hears of
STATISTICS = "batch_stats"


class MomentumBranch(nn.Module):
    """`η'(x) + η''(x)`: features `(B, ...)` to what the layers make of them, `(B, ...)`.

    Attributes:
      layers: the next layers above the component, as shapes of η' and η''.
      biases: how many trained branches η' there are.
      average: whether there is the average η''.
      scaled: weighs the two by `s` and `2 - s` with a trained s, as MAN++ (Su et al. 2025) does.
      remat: whether gradients compute the inside of layers anew, those of one branch after another.
      passes: of how many of the layers the component below wants the weights, too.
    """

    layers: tuple[nn.Module, ...]
    biases: int = 1
    average: bool = True
    scaled: bool = False
    remat: bool = False
    passes: int = 0

    @nn.compact
    def __call__(self, x, train):
        branches: list[nn.Module] = [
            Stack(tuple(layer.clone() for layer in self.layers), self.remat, name=f"bias_{index}")
            for index in range(self.biases)
        ]
        if self.average:
            branches.append(Average(self.layers, self.remat, self.passes, name="average"))
        scale = self.param("scale", nn.initializers.ones, ()).astype(x.dtype) if self.scaled else None
        total = 0
        for index, branch in enumerate(branches):
            if self.remat and index:  # its transpose: the gradients of a branch wait for those of the one after it
                x, total = jax.lax.optimization_barrier((x, total))
            y = branch(x, train)
            if scale is not None:
                y = (scale if index < self.biases else 2 - scale) * y
            total = total + y
        return total


class Average(nn.Module):
    """η'': layers whose weights are no parameters, but model state, which no gradient and no optimizer moves.

    `(B, ...) -> (B, ...)` as the layers.
    """

    layers: tuple[nn.Module, ...]
    remat: bool = False
    passes: int = 0

    @nn.compact
    def __call__(self, x, train):
        for index, layer in enumerate(self.layers):
            x = self._apply(str(index), layer.clone(parent=None), x, train)
        if self.passes and self.is_initializing():
            drawn = {str(index): self.get_variable(AVERAGE, str(index)) for index in range(self.passes)}
            for name, value in {"latest": drawn, "before": drawn, "heard": jnp.int32(0)}.items():
                self.put_variable(PASSED_ON, name, value)
        return x

    def _apply(self, name: str, layer: nn.Module, x, train):
        drawn: Mapping[str, Any] = {}
        if self.is_initializing():
            drawn = layer.init(self.make_rng("params"), x, train, method=call_block)
        if other := set(drawn) - {"params", STATISTICS}:
            raise ValueError(
                f"momentum takes layers with weights and batch norm; one has the collection {min(other)!r}"
            )
        variables = {"params": self.variable(AVERAGE, name, lambda: drawn.get("params", {})).value}
        statistics = None
        if STATISTICS in drawn or self.has_variable(STATISTICS, name):
            statistics = self.variable(STATISTICS, name, lambda: drawn[STATISTICS])
            variables[STATISTICS] = statistics.value
        keys = {"params": self.make_rng("params")} if train else {}

        def applied(variables, x, keys):
            return layer.apply(variables, x, train, method=call_block, mutable=[STATISTICS], rngs=keys)

        y, changed = (jax.checkpoint(applied) if self.remat else applied)(variables, x, keys)
        if statistics is not None and train and not self.is_initializing():
            statistics.value = changed[STATISTICS]
        return y
