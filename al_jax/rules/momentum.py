"""The Momentum Auxiliary Network (MAN, Su et al. 2024, arXiv 2407.05623) on any local rule.

Between a component's features x and its own loss stands `y = η'(x) + η''(x)`, both shaped like the first layers of the
next component. η' is trained with the component. η'' holds a moving average of the next component's weights, so that
some of what lies above reaches a component that receives no gradient from there:

    η'' <- decay · η'' + (1 - decay) · next,

once per update, from the weights before that update's step. Gradients go through η'' to x. The batch norm of η''
averages over the micro-batch as everywhere, and has statistics of its own for inference. It starts from weights of its
own, as in the authors' code.

Where the next component has fewer layers than a branch, the branch continues with those of the component above that. A
component hears only from the next one, so weights from higher up are passed on, and arrive two updates late on every
engine: in a pipeline, hearing and passing on take a tick each. Until the first of them arrive, a component passes on
weights that its own η'' was drawn with. A frozen component takes nothing in, and goes on passing on what it has.
"""

import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.arguments import share, whole
from al_jax.networks.layers import Stack
from al_jax.rules.momentum_branch import AVERAGE, PASSED_ON, MomentumBranch
from al_jax.rules.parts import check_blocks, check_rule
from al_jax.types import ComponentState, Network, PyTree

UPDATE = "update"  # in a message whose weights are passed on, which update they are from before
Rule = Callable[..., Network]


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
      depth: how many of the next layers above the component a branch has; near the top, as many as are left.
      decay: how much of the average an update keeps.
      biases: trained branches η'.
      average: whether there is η''.
      scaled: weighs them by `s` and `2 - s`, s trained, as in MAN++.

    Returns:
      A rule with the same arguments.

    Raises:
      ValueError: there is neither bias nor average, or only one with `scaled`, a depth below 1, a decay not from 0 to
        1, or a rule without branches; or, when the new rule is called, there is one block, fewer layers than `depth`
        above the first component, one component of several blocks, or momentum already; or, from `step`, parameters
        that are not under `f`.

    Example:
      >>> import al_jax as al
      >>> blocks = al.networks.resnet(8, cuts=4, standard=True)
      >>> network = al.momentum(al.greedy)(blocks, classes=10)
      >>> [part.hear is not None for part in network.components]
      [True, True, True, False]
    """
    check_rule(rule, "al.momentum", "al.momentum(al.greedy)")
    depth, biases = whole("depth", depth), whole("biases", biases, least=0)
    share("decay", decay, "the next component's weights as they are", "no change")
    if not (biases or average):
        raise ValueError("give momentum a bias or the average")
    if scaled and not (biases and average):
        raise ValueError("scaled weighs biases against the average: give momentum both of them, or leave scaled out")
    taken = inspect.signature(rule).parameters
    if "branches" not in taken and not any(own.kind == inspect.Parameter.VAR_KEYWORD for own in taken.values()):
        raise ValueError("momentum takes a local rule with branches=")

    def with_momentum(blocks: Sequence[nn.Module], classes: int, *arguments: Any, **options: Any) -> Network:
        if "branches" in options:
            raise ValueError("this rule has momentum already, and its branches are its own")
        check_blocks(blocks)
        if len(blocks) == 1:
            raise ValueError("momentum is for several components: give two blocks or more")
        layers = [_layers_of(block) for block in blocks]
        counts = list(map(len, layers))
        above = [tuple(itertools.chain(*layers[i + 1 :]))[:depth] for i in range(len(layers))]
        if len(above[0]) < depth:
            raise ValueError(
                f"momentum makes a branch of the next {depth} layers, but above component 1 there are {len(above[0])}: "
                "give a smaller depth"
            )
        passes = [0, *(max(0, len(wanted) - own) for wanted, own in zip(above, counts[1:], strict=False))]
        branches = [
            MomentumBranch(wanted, biases, average, scaled, getattr(block, "remat", False), passed)
            for wanted, block, passed in zip(above[:-1], blocks, passes, strict=False)
        ]
        network = rule(blocks, classes, *arguments, branches=(*branches, None), **options)
        if not average:
            return network
        if len(network.components) != len(blocks):
            raise ValueError(
                f"the average needs a component of each block, and of {len(blocks)} blocks this rule made "
                f"{len(network.components)}: give momentum another rule, or average=False"
            )
        parts = [
            part._replace(
                tell=_tell(block, min(depth, own), passed, passes[index - 1] > 0) if index else None,
                hear=_hear(decay, passed, index + 2) if index < len(blocks) - 1 else None,
            )
            for index, (part, block, own, passed) in enumerate(
                zip(network.components, blocks, counts, passes, strict=True)
            )
        ]
        return network._replace(components=tuple(parts))

    return with_momentum


def _layers_of(block: nn.Module) -> tuple[nn.Module, ...]:
    return tuple(block.layers) if isinstance(block, Stack) else (block,)


def _tell(block: nn.Module, own: int, passed: int, numbered: bool) -> Callable[[ComponentState], PyTree]:
    """The weights of the block's first layers, and of those above it as it heard of them two updates ago, by number."""

    def tell(state: ComponentState):
        f = state.params.get("f", {})
        told = {str(i): f.get(f"layers_{i}", {}) for i in range(own)} if isinstance(block, Stack) else {"0": f}
        if numbered:
            told[UPDATE] = state.updates
        if not passed:
            return told
        kept = _of(state.model_state, PASSED_ON)
        # In a pipeline it may speak before it has heard of the last update; what it says is that old on every engine.
        up_to_date = kept["heard"] == state.updates
        old = jax.tree.map(lambda before, latest: jnp.where(up_to_date, before, latest), kept["before"], kept["latest"])
        return told | {str(own + int(index)): weights for index, weights in old.items()}

    return tell


def _hear(decay: float, passed: int, speaker: int) -> Callable[[PyTree, PyTree], PyTree]:
    def hear(model_state, message):
        average = _of(model_state, AVERAGE)
        above = {index: message[index] for index in average}
        if jax.tree.structure(above) != jax.tree.structure(average):
            raise ValueError(
                f"component {speaker} does not keep the parameters of its block under 'f', where al.momentum looks for "
                "them: call the block f in the rule's module"
            )
        average = jax.tree.map(lambda average, above: decay * average + (1 - decay) * above, average, above)
        model_state = {**model_state, AVERAGE: _in_branch(average)}
        if not passed:
            return model_state
        kept = _of(model_state, PASSED_ON)
        latest = {index: above[index] for index in kept["latest"]}
        kept = {"latest": latest, "before": kept["latest"], "heard": message[UPDATE] + 1}
        return {**model_state, PASSED_ON: _in_branch(kept)}

    return hear


def _of(model_state: PyTree, collection: str) -> PyTree:
    return model_state[collection]["branch"]["average"]


def _in_branch(tree: PyTree) -> PyTree:
    return {"branch": {"average": tree}}
