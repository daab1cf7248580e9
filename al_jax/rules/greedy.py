"""Greedy local learning: every component learns from a classifier beside it (DGL, Belilovsky et al. 2020)."""

from collections.abc import Sequence

import flax.linen as nn

from al_jax.losses import cross_entropy
from al_jax.rules.heads import MlpSrHead, PooledClassifier
from al_jax.rules.local import Classification, local
from al_jax.rules.parts import Branches, Loss, PartFactory, check_blocks, part_of
from al_jax.types import Network


def greedy(
    blocks: Sequence[nn.Module],
    classes: int,
    *,
    head: PartFactory = MlpSrHead,
    top: PartFactory = PooledClassifier,
    loss: Loss = cross_entropy,
    branches: Branches | None = None,
) -> Network:
    """Makes a component from each block and an auxiliary classifier; one block alone is end-to-end backpropagation.

    Args:
      blocks: of the backbone, Flax modules `(x)` or `(x, train)`, from the input upwards.
      classes: number of scores.
      head: the auxiliary classifier of every component but the top one, a Flax module or a function of `classes`.
      top: the classifier above the top block, likewise.
      loss: `(scores, label) -> scalar` of all of them; `al.mean_squared_error` makes a regression of labels `(B,
        classes)`.
      branches: for each component, what its classifier sees the features through; see `al.momentum`.

    Raises:
      ValueError: there is no block or class.

    Example:
      >>> import al_jax as al
      >>> network = al.greedy(al.networks.resnet(8, cuts=4, standard=True), classes=10)
      >>> len(network.components)
      4
    """
    check_blocks(blocks)
    heads = [*(part_of(head, classes) for _ in blocks[1:]), part_of(top, classes)]
    return local(blocks, [Classification(head, loss, classes) for head in heads], classes, branches)
