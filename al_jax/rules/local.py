"""What the rules of supervised local learning share: blocks, each with an objective of its own beside it.

A component lifts the features below, hands them up, and learns from what its objective makes of them. The objectives
of all components but the top one are auxiliary: prediction with the whole network uses none of them.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.arguments import whole
from al_jax.components import call_block, component
from al_jax.losses import cross_entropy
from al_jax.rules.parts import Branches, Loss, branches_of, check_blocks, predictions, scores_of
from al_jax.types import Network


class LocalComponent(nn.Module):
    """A block and its objective.

    Attributes:
      f: features below to features, `(B, ...) -> (B, ...)`.
      objective: `(features, signal, train) -> losses`, with a method `scores(features, train) -> (B, classes)`.
      branch: what stands between the features and the objective, but not between this component and the next;
        `al.momentum` puts something there.
      keeps: what of the batch travels up beside the features.
      first: whether this is component 1, which receives the batch.
    """

    f: nn.Module
    objective: nn.Module
    branch: nn.Module | None = None
    keeps: tuple[str, ...] = ("label",)
    first: bool = False

    def __call__(self, signal, train):
        kept = {name: signal[name] for name in self.keeps}
        features = self.lift(signal["image"] if self.first else signal["features"], train)
        losses = self.objective(self.aside(features, train), kept, train)
        return {"features": features, **kept}, losses

    def lift(self, features, train):
        """The features that go up, `(B, ...) -> (B, ...)`."""
        return call_block(self.f, features, train)

    def aside(self, features, train):
        """What the objective sees of them, `(B, ...) -> (B, ...)`."""
        return features if self.branch is None else self.branch(features, train)

    def scores(self, features, train):
        """The objective's, of the component's features, `(B, ...) -> (B, classes)`."""
        return self.objective.scores(self.aside(features, train), train)


class Classification(nn.Module):
    """The plainest objective, the loss of a classifier `head`, `(B, ...) -> (B, classes)`, and the labels.

    Other scores are refused where `classes` says how many there must be.
    """

    head: nn.Module
    loss: Loss = cross_entropy
    classes: int | None = None

    def __call__(self, features, signal, train):
        return {"prediction": self.loss(self.scores(features, train), signal["label"])}

    def scores(self, features, train):
        """`(B, ...) -> (B, classes)`."""
        scores = call_block(self.head, features, train)
        return scores if self.classes is None else scores_of(scores, self.classes)


def local(
    blocks: Sequence[nn.Module],
    objectives: Sequence[nn.Module],
    classes: int,
    branches: Branches | None = None,
    keeps: tuple[str, ...] = ("label",),
) -> Network:
    """Makes a component of each block and its objective.

    Args:
      blocks: from the input upwards.
      objectives: one for each block, see `LocalComponent`; the top one's scores are the network's.
      classes: their number; labels count from 0.
      branches: what each component's objective sees the features through; the top component has none.
      keeps: what of the batch the objectives need.

    Raises:
      ValueError: there is no block or class, or not one objective and branch for each.
    """
    check_blocks(blocks)
    branches = branches_of(branches, blocks)
    if len(objectives) != len(blocks):
        raise ValueError(f"{len(objectives)} objectives are given for {len(blocks)} blocks: give one for each")
    modules = [
        LocalComponent(f.clone(), objective, branch, keeps, first=index == 0)
        for index, (f, objective, branch) in enumerate(zip(blocks, objectives, branches, strict=True))
    ]
    top = len(modules) - 1
    predict, anytime = predictions(modules, _scores)
    return Network(
        components=tuple(map(component, modules)),
        predict=predict,
        effective=tuple(
            {"f": True, "objective": i == top, **({} if branch is None else {"branch": False})}
            for i, branch in enumerate(branches)
        ),
        anytime=anytime,
        classes=whole("classes", classes),
    )


def _scores(chain, features) -> jax.Array:
    """By the objective of the chain's top component."""
    module, variables = chain[-1]
    return jnp.asarray(module.apply(variables, features, False, method="scores"), jnp.float32)
