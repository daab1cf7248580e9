"""The Momentum Auxiliary Network (MAN, Su et al. 2024, arXiv 2407.05623) on any local rule.

Between a component's features x and its own loss stands `y = η'(x) + η''(x)`, both shaped like the first layers of the
next component. η' is trained with the component. η'' holds a moving average of the next component's weights, so that a
little of what lies above reaches a component that no gradient from above does:

    η'' <- decay · η'' + (1 - decay) · next,

once an update, from the weights before that update's step. Gradients go through η'' to x. Its batch norm averages over
the micro-batch as everywhere, and has statistics of its own for inference. It starts from weights of its own, as in the
authors' code.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from al_jax.components import call_block
from al_jax.networks.layers import Stack
from al_jax.types import Network, PyTree

AVERAGE = "momentum"  # the collection of variables in which η'' lies
STATISTICS = "batch_stats"
Rule = Callable[..., Network]


class MomentumBranch(nn.Module):
    """`η'(x) + η''(x)`.

    Attributes:
      layers: the first layers of the next component, as shapes of η' and η''.
      biases: how many trained branches η' there are.
      average: whether there is the average η''.
      scaled: weighs the two by `s` and `2 - s` with a trained s, as MAN++ (Su et al. 2025) does.
      remat: whether gradients compute the inside of layers anew.
    """

    layers: tuple[nn.Module, ...]
    biases: int = 1
    average: bool = True
    scaled: bool = False
    remat: bool = False

    @nn.compact
    def __call__(self, x, train):
        trained = [
            Stack(tuple(layer.clone() for layer in self.layers), self.remat, name=f"bias_{index}")
            for index in range(self.biases)
        ]
        total = sum(branch(x, train) for branch in trained)
        averaged = _Average(self.layers, self.remat, name="average")(x, train) if self.average else 0
        if not self.scaled:
            return total + averaged
        scale = self.param("scale", nn.initializers.ones, ())
        scale = scale.astype(x.dtype)
        return scale * total + (2 - scale) * averaged


class _Average(nn.Module):
    """η'': layers whose weights are no parameters, but model state, which no gradient and no optimizer moves."""

    layers: tuple[nn.Module, ...]
    remat: bool = False

    @nn.compact
    def __call__(self, x, train):
        for index, layer in enumerate(self.layers):
            x = self._apply(str(index), layer.clone(parent=None), x, train)
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
        if statistics and train and not self.is_initializing():
            statistics.value = changed[STATISTICS]
        return y


def momentum(
    rule: Rule,
    depth: int = 1,
    *,
    decay: float = 0.995,
    biases: int = 1,
    average: bool = True,
    scaled: bool = False,
) -> Rule:
    """Puts the Momentum Auxiliary Network into a local rule: `al.momentum(al.greedy)(blocks, classes)`.

    Every component but the top one gets a branch. The paper's ablations are arguments: the average alone (`biases=0`),
    the bias alone (`average=False`), the next component's weights without averaging (`decay=0`), two trained branches
    (`biases=2, average=False`), a bias beside weights that stay as they were drawn (`decay=1`).

    Args:
      rule: `(blocks, classes, ..., branches=) -> Network` whose components keep their block's parameters under `f`.
      depth: how many layers of the next component a branch is made of.
      decay: how much of the average an update keeps.
      biases: trained branches η'.
      average: whether there is η''.
      scaled: weighs them by `s` and `2 - s`, s trained, as in MAN++.

    Returns:
      A rule with the same arguments.

    Raises:
      ValueError: neither bias nor average, a decay that is no share; and, from the rule made, a component with fewer
        layers than `depth`.

    Example:
      >>> import al_jax as al
      >>> blocks = al.networks.resnet(8, cuts=4, standard=True)
      >>> network = al.momentum(al.greedy)(blocks, classes=10)
      >>> [part.hear is not None for part in network.components]
      [True, True, True, False]
    """
    if not 0 <= decay <= 1:
        raise ValueError(
            f"decay is {decay}: it must be from 0, the next component's weights as they are, to 1, no change"
        )
    if biases < 0 or depth < 1 or not (biases or average):
        raise ValueError("give momentum a depth of at least 1, and a bias or the average")

    def with_momentum(blocks: Sequence[nn.Module], classes: int, *arguments: Any, **options: Any) -> Network:
        layers = [_layers_of(block) for block in blocks]
        for index, own in enumerate(layers[1:], 2):
            if len(own) < depth:
                raise ValueError(
                    f"depth is {depth}, but component {index} has {len(own)} layer{'s' * (len(own) > 1)}: momentum "
                    "takes the first ones of the next component"
                )
        branches = [
            MomentumBranch(above[:depth], biases, average, scaled, getattr(block, "remat", False))
            for above, block in zip(layers[1:], blocks, strict=False)
        ]
        network = rule(blocks, classes, *arguments, branches=(*branches, None), **options)
        if not average:
            return network
        parts = [
            part._replace(
                tell=_tell(block, depth) if index else None,
                hear=_hear(decay) if index < len(blocks) - 1 else None,
            )
            for index, (part, block) in enumerate(zip(network.components, blocks, strict=True))
        ]
        return network._replace(components=tuple(parts))

    return with_momentum


def _layers_of(block: nn.Module) -> tuple[nn.Module, ...]:
    return tuple(block.layers) if isinstance(block, Stack) else (block,)


def _tell(block: nn.Module, depth: int) -> Callable[[PyTree], PyTree]:
    """The weights of a block's first layers, by number."""
    if not isinstance(block, Stack):
        return lambda params: {"0": params.get("f", {})}
    return lambda params: {str(i): params.get("f", {}).get(f"layers_{i}", {}) for i in range(depth)}


def _hear(decay: float) -> Callable[[PyTree, PyTree], PyTree]:
    def hear(model_state, message):
        state = model_state[AVERAGE]["branch"]["average"]
        state = jax.tree.map(lambda average, above: decay * average + (1 - decay) * above, state, message)
        return {**model_state, AVERAGE: {"branch": {"average": state}}}

    return hear
