"""Local learning by prediction and similarity (PredSim, Nøkland & Eidnes 2019).

A component's loss is `(1 - beta) · CE(W · average(h), y) + beta · MSE(S(conv(h)), S(one_hot(y)))`, where S compares all
examples of a micro-batch with each other. Granularity and sizes are those of AugLocal (Ma et al. 2024), so the top
component's loss is plain cross-entropy.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.arguments import share
from al_jax.components import call_block
from al_jax.losses import cross_entropy, mean_squared_error, one_hot
from al_jax.networks.convolution import conv_general_dilated
from al_jax.rules.heads import AveragedClassifier, PooledClassifier, dense
from al_jax.rules.local import Classification, local
from al_jax.rules.parts import Branches, PartFactory, check_blocks, copy_of, part_of, scores_of
from al_jax.types import Network

IMAGE_CHANNELS = 3  # so many channels or fewer are compared pixel by pixel, more by their spread over the image


class PredSim(nn.Module):
    """The objective of one component, `beta` of it by similarity and the rest by the classifier `head`.

    Of features `(B, ...)` and labels `(B,)` it makes two scalars that are weighted already: `prediction` is
    `1 - beta` times the cross-entropy, `similarity` is `beta` times the squared error.

    Attributes:
      head: features to scores, `(B, ...) -> (B, classes)`.
      compared: features to what is compared, `(B, ...) -> (B, ...)`; called without `train`.
      classes: number of scores.
      beta: from 0 to 1.
    """

    head: nn.Module
    compared: nn.Module
    classes: int
    beta: float = 0.99

    def __call__(self, features, signal, train):
        prediction = cross_entropy(self.scores(features, train), signal["label"])
        targets = similarity(one_hot(signal["label"], self.classes))
        loss = mean_squared_error(similarity(self.compared(features)), targets)
        return {"prediction": (1 - self.beta) * prediction, "similarity": self.beta * loss}

    def scores(self, features, train):
        """`(B, ...) -> (B, classes)`."""
        return scores_of(call_block(self.head, features, train), self.classes)


class Compared(nn.Module):
    """One linear map without bias of as many channels, by 3x3 convolution where features are images.

    `(B, ..., C) -> (B, ..., C)`. The convolution's kernel is drawn as Flax draws it, LeCun normal, after no source.
    """

    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, features):
        width = features.shape[-1]
        if features.ndim != 4:
            return dense(width, use_bias=False, dtype=self.dtype)(features)
        conv = nn.Conv(width, (3, 3), use_bias=False, dtype=self.dtype, conv_general_dilated=conv_general_dilated)
        return conv(features)


def similarity(x: jax.Array) -> jax.Array:
    """Adjusted cosine similarity of all examples with each other, `(B, ...) -> (B, B)` in [-1, 1].

    Images of more than three channels and more than one row are compared by each channel's standard deviation over
    the image.
    """
    x = x.astype(jnp.float32)
    if x.ndim == 4 and x.shape[-1] > IMAGE_CHANNELS and x.shape[1] > 1:
        x = _spread(x)
    x = x.reshape(len(x), -1)
    x = x - x.mean(1, keepdims=True)
    x = x / (1e-8 + _safe_sqrt(jnp.square(x).sum(1, keepdims=True)))
    return jnp.clip(jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST), -1, 1)


def _spread(x: jax.Array) -> jax.Array:
    """Unbiased standard deviation over height and width, `(B, H, W, C) -> (B, C)`."""
    deviations = x - x.mean((1, 2), keepdims=True)
    return _safe_sqrt(jnp.square(deviations).sum((1, 2)) / max(x.shape[1] * x.shape[2] - 1, 1))


def _safe_sqrt(x: jax.Array) -> jax.Array:
    """A square root whose gradient at 0, where units are dead, is 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def predsim(
    blocks: Sequence[nn.Module],
    classes: int,
    *,
    beta: float = 0.99,
    head: PartFactory = AveragedClassifier,
    compared: nn.Module | None = None,
    top: PartFactory = PooledClassifier,
    branches: Branches | None = None,
) -> Network:
    """Makes a component from each block, a similarity loss and a classifier; losses are reported as weighted.

    Under slices (`shards`), examples are compared within their slice.

    Args:
      blocks: of the backbone, from the input upwards.
      classes: number of scores.
      beta: the similarity's share of the loss of every component but the top one.
      head: the classifier of these, a Flax module or a function of `classes`.
      compared: the Flax module `(features) -> (B, ...)` that features go through before they are compared, by default
        `Compared()`.
      top: the classifier above the top block, likewise.
      branches: for each component, what its objective sees the features through; see `al.momentum`.

    Raises:
      ValueError: there is no block or class, `beta` is not a share, or `compared` is not a module.

    Example:
      >>> import jax, jax.numpy as jnp, al_jax as al
      >>> lowest, top = al.predsim(al.networks.mlp([16, 16]), classes=10).components
      >>> key, batch = jax.random.key(0), {"image": jnp.zeros((4, 8)), "label": jnp.zeros(4, int)}
      >>> variables = jax.eval_shape(lowest.init, key, batch)
      >>> _, losses, _ = jax.eval_shape(lambda own: lowest.apply(own, batch, key, True), variables)
      >>> sorted(losses)
      ['prediction', 'similarity']
    """
    share("beta", beta, "prediction alone", "similarity alone")
    check_blocks(blocks)
    compared = Compared() if compared is None else compared
    objectives = [PredSim(part_of(head, classes), copy_of("compared", compared), classes, beta) for _ in blocks[1:]]
    return local(blocks, [*objectives, Classification(part_of(top, classes), classes=classes)], classes, branches)
