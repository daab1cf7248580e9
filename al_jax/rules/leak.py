"""Between local and end-to-end learning: a fraction of the gradient goes through each cut."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from al_jax.arguments import share
from al_jax.components import anytime_scores, check_variables, component
from al_jax.rules.parts import check_rule
from al_jax.types import Network, PyTree

Rule = Callable[..., Network]


class Leaking(nn.Module):
    """All components of a network as one, with `alpha` of the gradient between them."""

    parts: tuple[nn.Module, ...]
    alpha: float

    def __call__(self, batch, train):
        signal, losses = batch, {}
        for index, part in enumerate(self.parts):
            signal, own = part(signal, train)
            signal = _leak(signal, self.alpha)
            losses |= {f"component_{index + 1}_{name}": loss for name, loss in own.items()}
        return signal, losses


def leak(rule: Rule, alpha: float) -> Rule:
    """Lets `alpha` of the gradient through each cut: 0 is the local rule, 1 end-to-end training with every loss.

    Components that wait for each other's gradients cannot train by themselves, so the network is one single component,
    as under `al.backprop`. Its prediction still has the rule's depths. Under Associated Learning gradients go through
    the features alone: codes still learn from their own autoencoders, and can be trained beforehand.

    Args:
      rule: `(blocks, classes, ...) -> Network`, whose components are Flax modules and tell each other nothing.
      alpha: from 0 to 1.

    Returns:
      A rule with the same arguments.

    Raises:
      ValueError: `alpha` is not a fraction; or, when the new rule is called, its components are as under `al.momentum`
        or `al.freeze`.

    Example:
      >>> import al_jax as al
      >>> network = al.leak(al.greedy, 0.1)(al.networks.mlp([16, 16]), classes=10)
      >>> len(network.components)
      1
    """
    check_rule(rule, "al.leak", "al.leak(al.greedy, 0.1)")
    share("alpha", alpha, "local", "end to end")

    def leaking(blocks: Sequence[nn.Module], classes: int, *arguments: Any, **options: Any) -> Network:
        network = rule(blocks, classes, *arguments, **options)
        modules = [part.module for part in network.components if part.module is not None]
        if len(modules) < len(network.components) or any(part.hear for part in network.components):
            raise ValueError(
                "leak takes rules whose components are Flax modules, none of them frozen, that tell each other nothing"
            )
        names = [f"parts_{index}" for index in range(len(modules))]
        labels = {name: _prefixed(name, part.labels) for name, part in zip(names, network.components, strict=True)}
        rates = {
            f"{name} {group}": rate
            for name, part in zip(names, network.components, strict=True)
            for group, rate in part.rates.items()
        }
        whole = component(Leaking(tuple(modules), alpha), labels=labels, rates=rates)

        def predict(variables, images, depth=None):
            return network.predict(_split(variables, names), images, depth)

        def anytime(variables, images, depth=None):
            return anytime_scores(network, _split(variables, names), images, depth)

        return network._replace(
            components=(whole,),
            predict=predict,
            effective=(dict(zip(names, network.effective, strict=True)),),
            levels=len(modules),
            anytime=anytime,
        )

    return leaking


def _leak(signal: PyTree, alpha: float) -> PyTree:
    """The signal itself, with `alpha` of its gradient."""

    def scaled(x):
        return optax.scale_gradient(x, alpha) if jnp.issubdtype(x.dtype, jnp.inexact) else x

    return jax.tree.map(scaled, signal)


def _prefixed(name: str, labels: PyTree) -> PyTree:
    return jax.tree.map(lambda group: f"{name} {group}", labels)


def _split(variables: Sequence[PyTree], names: Sequence[str]) -> list[PyTree]:
    """The variables of each part out of those of the one component."""
    check_variables(variables, 1)
    return [{collection: tree[name] for collection, tree in variables[0].items() if name in tree} for name in names]
