"""Local learning by information propagation (InfoPro, Wang et al. 2021).

A component learns to keep what reconstructs the image and what tells the label: its loss is `λ1 · R + λ2 · L`, where R
is the binary cross-entropy of a decoder's pixels and L cross-entropy or supervised contrast. The two weights go
from the lowest component's to those of the highest but one, linearly by default; the top one has plain cross-entropy.
"""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax.arguments import not_negative, several, share
from al_jax.components import call_block
from al_jax.losses import cross_entropy
from al_jax.networks.convolution import conv_general_dilated
from al_jax.networks.layers import HE, batch_norm
from al_jax.rules.heads import ConvHead, PooledClassifier, dense, global_average
from al_jax.rules.local import Classification, local
from al_jax.rules.parts import Branches, PartFactory, check_blocks, copy_of, part_of
from al_jax.types import Network

Weights = tuple[float, float]
TEMPERATURE = 0.07
EMBEDDING = 128  # what contrast compares
# Channels before each doubling; with four or more, of which the last is larger, as MAN's code has them.
CHANNELS = {1: (12,), 2: (32, 12), 3: (128, 32, 12), 4: (192, 64, 32, 12)}


class InfoPro(nn.Module):
    """The objective of one component.

    From features `(B, ...)` and a signal with the label and the image it makes scalars, already weighted:
    `reconstruction`, and the target's under their own names. Only `probe`, which trains just itself, is unweighted.

    Attributes:
      decoder: `(features, shape, train) -> logits` `(B, *shape)` of the image's pixels, see `Decoder`.
      target: `(features, signal, train) -> losses`, with a method `scores`: `Classification` or `Contrast`.
      weights: of the reconstruction and of the target.
      restore: from the image that the network sees to pixels in 0..1.
    """

    decoder: nn.Module
    target: nn.Module
    weights: Weights
    restore: Callable[[jax.Array], jax.Array]

    def __call__(self, features, signal, train):
        reconstruction, target = self.weights
        pixels = self.restore(signal["image"])
        if not jnp.issubdtype(pixels.dtype, jnp.floating):
            raise ValueError(f"the image is {pixels.dtype}: InfoPro reconstructs pixels in 0..1, see restore")
        logits = self.decoder(features, pixels.shape[1:], train).astype(jnp.float32)
        loss = optax.sigmoid_binary_cross_entropy(logits, pixels).mean()
        own = self.target(features, signal, train)
        weighted = {name: value if name == "probe" else target * value for name, value in own.items()}
        return {"reconstruction": reconstruction * loss, **weighted}

    def scores(self, features, train):
        """The target's, `(B, ...) -> (B, classes)`."""
        return self.target.scores(features, train)


class Decoder(nn.Module):
    """Features resized to the image, then two 3x3 convolutions; flat features take one dense layer.

    It is called with features `(B, h, w, C)` or `(B, C)`, the shape `(H, W, channels)` of an image, and `train`, and
    gives logits `(B, H, W, channels)` of pixels, as must whatever takes its place. Kernels of its convolutions are
    drawn as Flax draws them, LeCun normal, after no source.
    """

    width: int = 12
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, features, shape, train):
        if features.ndim != 4:
            return dense(int(np.prod(shape)), dtype=self.dtype)(features).reshape(-1, *shape)
        x = resize(features, shape[:2])
        options = {"dtype": self.dtype, "conv_general_dilated": conv_general_dilated}
        x = nn.Conv(self.width, (3, 3), **options)(x)
        x = nn.relu(batch_norm(train, self.dtype, HE)(x))
        return nn.Conv(shape[-1], (3, 3), **options)(x)


class ImageDecoder(nn.Module):
    """InfoPro's decoder for large images: convolutions that get narrower while the features double their size.

    `(B, 28, 28, C)` goes through 128 channels at 28 pixels, 32 at 56 and 12 at 112 to an image of 224. It is called and
    drawn as `Decoder` is, but takes images only, not flat features.
    """

    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, features, shape, train):
        options = {"dtype": self.dtype, "conv_general_dilated": conv_general_dilated}
        if features.ndim != 4:
            raise ValueError(f"features of shape {features.shape} are no images (B, H, W, C): take the plain Decoder")
        doublings = round(math.log2(shape[0] / features.shape[1]))
        x, widths = features, CHANNELS.get(min(doublings, 4), ())
        for index, width in enumerate(widths):
            pointwise = index < (2 if len(widths) == 4 else 1)
            x = nn.Conv(width, (1, 1) if pointwise else (3, 3), **options)(x)
            x = nn.relu(batch_norm(train, self.dtype, HE)(x))
            x = resize(x, (2 * x.shape[1], 2 * x.shape[2]))
        return nn.Conv(shape[-1], (3, 3), **options)(resize(x, shape[:2]))


class Contrast(nn.Module):
    """Supervised contrast of embeddings by `head`, and a linear probe beside it, which only makes scores.

    Embeddings are `(B, n)`. The features, `(B, ...)`, learn nothing from the loss `probe`.
    """

    head: nn.Module
    classes: int

    def setup(self):
        self.probe = dense(self.classes)

    def __call__(self, features, signal, train):
        embedded = call_block(self.head, features, train)
        probe = cross_entropy(self.scores(features, train), signal["label"])
        return {"contrast": supervised_contrast(embedded, signal["label"]), "probe": probe}

    def scores(self, features, train):
        """`(B, ...) -> (B, classes)`."""
        return self.probe(jax.lax.stop_gradient(global_average(features)))


def supervised_contrast(embedded: jax.Array, label: jax.Array, temperature: float = TEMPERATURE) -> jax.Array:
    """The loss of Khosla et al. (2020), Equation 2, with one view of each example `(B, n)`.

    An example without another of its class in the micro-batch counts as 0.
    """
    x = embedded.astype(jnp.float32)
    x = x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(1, keepdims=True), 1e-12))
    other = ~jnp.eye(len(x), dtype=bool)
    same = (label[:, None] == label[None]) & other
    alike = jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)  # dividing by the temperature magnifies errors
    log_share = jax.nn.log_softmax(jnp.where(other, alike / temperature, -jnp.inf), axis=1)
    log_share = jnp.where(same, log_share, 0)
    partners = jnp.maximum(same.sum(1, dtype=jnp.float32), 1)
    return -jnp.mean(log_share.sum(1) / partners)


def resize(features: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear, with the corners of both images on each other, `(B, H, W, C) -> (B, *size, C)`."""
    for axis, length in ((1, size[0]), (2, size[1])):
        weights = _interpolation(features.shape[axis], length).astype(features.dtype)
        features = jnp.moveaxis(jnp.tensordot(weights, features, axes=(1, axis)), 0, axis)
    return features


def _interpolation(old: int, new: int) -> np.ndarray:
    """Row i has the weights of the two pixels around place `i · (old - 1) / (new - 1)`."""
    places = np.linspace(0, old - 1, new)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old)[None])).astype(np.float32)


def infopro(
    blocks: Sequence[nn.Module],
    classes: int,
    *,
    first: Weights = (5.0, 0.0),
    last: Weights = (0.0, 2.0),
    shares: Sequence[float] | None = None,
    contrast: bool = False,
    head: PartFactory = ConvHead,
    decoder: nn.Module | None = None,
    top: PartFactory = PooledClassifier,
    restore: Callable[[jax.Array], jax.Array] = lambda image: image,
    branches: Branches | None = None,
) -> Network:
    """Makes a component from each block, a decoder and a target; the image travels up with the features.

    Losses are reported as weighted.

    Args:
      blocks: of the backbone, from the input upwards.
      classes: number of scores.
      first: weights of reconstruction and target in the lowest component.
      last: in the highest but one.
      shares: where between `first`, 0, and `last`, 1, the weights of each component but the top one are; evenly spaced
        by default.
      contrast: supervised contrast in place of cross-entropy.
      head: the auxiliary classifier, a Flax module or a function of `classes`, or of the size of an embedding.
      decoder: a Flax module called as `Decoder` is; by default `Decoder()`.
      top: the classifier above the top block.
      restore: from the images that component 1 receives to pixels in 0..1; those in 0..1 by default.
      branches: for each component, what its objective sees the features through; see `al.momentum`.

    Raises:
      ValueError: there is no block or class, not one share in 0..1 for each component but the top one, a weight is
        negative, or `decoder` is not a module.

    Example:
      >>> import al_jax as al
      >>> network = al.infopro(al.networks.mlp([16] * 4), classes=10, first=(5, 0), last=(1, 2))
      >>> [part.module.objective.weights for part in network.components[:-1]]
      [(5.0, 0.0), (3.0, 1.0), (1.0, 2.0)]
    """
    check_blocks(blocks)
    auxiliary = len(blocks) - 1
    if shares is None:
        shares = [index / max(auxiliary - 1, 1) for index in range(auxiliary)]
    shares = [share("a share", value, "as the first", "as the last") for value in several("shares", shares)]
    if len(shares) != auxiliary:
        raise ValueError(f"{len(shares)} shares for {auxiliary} components below the top one: give one for each")
    first, last = _weights("first", first), _weights("last", last)
    decoder = Decoder() if decoder is None else decoder
    objectives: list[nn.Module] = []

    def target() -> nn.Module:
        if contrast:
            return Contrast(part_of(head, EMBEDDING), classes)
        return Classification(part_of(head, classes), classes=classes)

    for part in shares:
        low, high = ((1 - part) * a + part * b for a, b in zip(first, last, strict=True))
        objectives.append(InfoPro(copy_of("decoder", decoder), target(), (low, high), restore))
    objectives.append(Classification(part_of(top, classes), classes=classes))
    return local(blocks, objectives, classes, branches, keeps=("label", "image"))


def _weights(name: str, weights: Weights) -> Weights:
    try:
        reconstruction, target = weights
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {weights!r}: it must be two weights, of reconstruction and target") from None
    return not_negative(f"a weight of {name}", reconstruction), not_negative(f"a weight of {name}", target)
