"""Forward and backward passes of one stage of backpropagation, apart from each other, as its pipelines need them.

What the backward pass needs of the forward pass are arrays, so that they can wait in a buffer: the residuals that
`jax.vjp` keeps, without the parameters among them, or with rematerialisation the input of the stage alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

import al_jax as al
from al_jax.analysis.macs import training_macs
from al_jax.components import call_block
from al_jax.engines.partition import best_partition, blocks_of
from al_jax.losses import cross_entropy
from benchmarks.pipeline.cases import PREPARE, Case

Layers = Sequence[tuple[str, nn.Module]]
Kept = list[jax.Array]


class Passes(NamedTuple):
    """One stage's work on a micro-batch.

    Attributes:
      forward: `(params, x, label) -> (y, kept)`; the last stage's y is the loss.
      backward: `(params, kept, label, dy) -> (gradients, dx)`; the first stage's dx is ().
      entering: shape of x, () for the first stage, which is given the images.
    """

    forward: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Kept]]
    backward: Callable[[Any, Kept, jax.Array, jax.Array], tuple[Any, Any]]
    entering: Any


def layers_of(network: al.Network) -> Layers:
    """The layers of the network that `al.backprop` made, by the names of their parameters."""
    whole = network.components[0].module
    blocks = [(f"blocks_{index}", block) for index, block in enumerate(whole.blocks)]
    decoders = [(f"decoders_{index}", decoder) for index, decoder in enumerate(whole.decoders)]
    return [*blocks, ("bridge", whole.bridge), *decoders]


def cut(case: Case, stages: int) -> list[Layers]:
    """Contiguous layers for each stage, so that the most multiply-accumulates of a stage are as few as possible.

    A layer's update takes three times its forward pass, the first one's twice: nobody asks for the images' gradient.
    """
    layers, x = layers_of(case.backprop()), case.shapes()["image"]
    costs = []
    for _, layer in layers:
        part = al.component(_Alone(layer))
        costs.append((3 if costs else 2) * sum(training_macs(al.compose([part]), {"image": x})))
        x, _ = jax.eval_shape(
            lambda x, layer=layer: layer.init_with_output(jax.random.key(0), x, True, method=call_block), x
        )
    return blocks_of(layers, best_partition(costs, stages))


class _Alone(nn.Module):
    """A layer as a component without a loss."""

    layer: nn.Module

    def __call__(self, signal, train):
        return {"image": call_block(self.layer, signal["image"], train)}, {}


def make_passes(cuts: Sequence[Layers], params: Sequence[Any], image, label, remat: bool) -> list[Passes]:
    """The passes of every stage for micro-batches of these shapes."""
    made, x = [], image
    for stage, (layers, own) in enumerate(zip(cuts, params, strict=True)):
        first, last = stage == 0, stage == len(cuts) - 1
        forward, backward = _passes(layers, first, last, remat)
        made.append(Passes(forward, backward, () if first else x))
        x, _ = jax.eval_shape(forward, own, x, label)
    return made


def _passes(layers: Layers, first: bool, last: bool, remat: bool):
    def apply(params, x, label):
        x = PREPARE(x, None, True) if first else x
        for name, layer in layers:
            x = layer.apply({"params": params[name]}, x, True, method=call_block)
        return cross_entropy(x, label) if last else x

    def pull_back(params, x, label):
        if first:  # nobody asks for the gradient of the images
            y, pull = jax.vjp(lambda params: apply(params, x, label), params)
            return y, pull
        return jax.vjp(lambda params, x: apply(params, x, label), params, x)

    recipe = {}  # how residuals become the backward pass again; the same in every trace

    def forward(params, x, label):
        if remat:
            return apply(params, x, label), [x]
        y, pull = pull_back(params, x, label)
        leaves, recipe["tree"] = jax.tree.flatten(pull)
        own = jax.tree.leaves(params)
        recipe["places"] = [next((i for i, p in enumerate(own) if p is leaf), None) for leaf in leaves]
        return y, [leaf for leaf, place in zip(leaves, recipe["places"], strict=True) if place is None]

    def backward(params, kept, label, dy):
        if remat:
            _, pull = pull_back(params, kept[0], label)
        else:
            own, waiting = jax.tree.leaves(params), iter(kept)
            leaves = [next(waiting) if place is None else own[place] for place in recipe["places"]]
            pull = jax.tree.unflatten(recipe["tree"], leaves)
        gradients, *dx = pull(dy)
        return gradients, dx[0] if dx else ()

    return forward, backward
