"""Losses `(prediction, target) -> scalar`, means over the micro-batch."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def mean_squared_error(prediction: ArrayLike, target: ArrayLike) -> jax.Array:
    """Mean over examples and units, in float32 whatever the networks compute in.

    Raises:
      ValueError: the two have different shapes.
    """
    prediction, target = _of_one_shape(prediction, target)
    return jnp.mean(jnp.square(prediction.astype(jnp.float32) - target.astype(jnp.float32)))


def code_contrast(prediction: ArrayLike, target: ArrayLike, sharpness: float = 10.0, squares: float = 1.0) -> jax.Array:
    """An associated loss that also tells the codes of a micro-batch apart.

    For example i with prediction b_i and code t_i, p_i is the softmax over the micro-batch's codes t_j of
    -sharpness · |b_i - t_j|² / D, and q_i that of -sharpness · |t_i - t_j|² / D, where D is the mean squared distance
    of all these codes to each other, each to itself included. The loss is the mean over i of the divergence
    Σ_j q_ij log(q_ij / p_ij) (for codes far apart, the cross-entropy over the classes of the micro-batch), plus
    `squares` times the mean squared error divided by the codes' variance. It is 0 where every prediction is its code.

    Squares alone learn many classes slowly (`configs/cifar_resnet.py`). Use contrast with codes that are trained
    beforehand: while codes move, upper components learn later than with squares. Softmaxes over distances are those of
    stochastic neighbour embedding (Hinton and Roweis 2002) and of prototypical networks (Snell et al. 2017).

    Args:
      prediction: b, `(B, n)`.
      target: t, `(B, n)`. Where the variance of its rows is below 1e-7, as in a micro-batch of one class, there is
        nothing to tell apart, and the loss is 0.
      sharpness: above 0; at 10 a code whose squared distance is greater by D than another's has e^-10 of its share.
      squares: weight of the squared error, 0 or more.

    Returns:
      A float32 scalar.

    Raises:
      ValueError: the two have different shapes.
    """
    prediction, target = _of_one_shape(prediction, target)
    target = target.astype(jnp.float32)
    centre = jnp.mean(target, axis=0, keepdims=True)
    guesses, codes = prediction.astype(jnp.float32) - centre, target - centre
    variance = jnp.mean(jnp.square(codes))
    inverse = jnp.where(variance > 1e-7, 1 / jnp.maximum(variance, 1e-7), 0)
    scale = sharpness * inverse / (2 * target.shape[1])  # D is 2n variances
    norms = jnp.sum(jnp.square(codes), axis=1)[None]

    def log_shares(rows):  # |rows_i|² is the same for all j
        products = jnp.matmul(rows, codes.T, precision=jax.lax.Precision.HIGHEST)
        return nn.log_softmax(scale * (2 * products - norms), axis=1)

    wanted, given = log_shares(codes), log_shares(guesses)
    divergence = jnp.mean(jnp.sum(jnp.exp(wanted) * (wanted - given), axis=1))
    return divergence + squares * inverse * mean_squared_error(guesses, codes)


def cross_entropy(scores: ArrayLike, label: ArrayLike) -> jax.Array:
    """Mean softmax cross-entropy of `(B, C)` scores and `(B,)` integer labels, in float32; NaN for labels of no class.

    Raises:
      ValueError: the labels are not one integer for each row of scores.
    """
    scores, label = jnp.asarray(scores), jnp.asarray(label)
    _check_labels(label, scores.shape[:1])
    label = jnp.where(label < 0, scores.shape[1], label.astype(jnp.int32))  # -1 is no class, and not the last one
    log_probabilities = nn.log_softmax(scores.astype(jnp.float32))
    return -jnp.mean(jnp.take_along_axis(log_probabilities, label[:, None], axis=1))


def one_hot(label: jax.Array, classes: int) -> jax.Array:
    """The one-hot rows `(B, C)` of `(B,)` integer labels; NaN for labels of no class.

    Raises:
      ValueError: the labels are not one integer for each example.
    """
    _check_labels(label, label.shape[:1])
    label = label.astype(jnp.int32)  # in which `classes` fits, 256 of them do not in eight bits
    known = (label >= 0) & (label < classes)
    return jnp.where(known[:, None], jax.nn.one_hot(label, classes), jnp.nan)


def _of_one_shape(prediction: ArrayLike, target: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Both as arrays, or a ValueError."""
    prediction, target = jnp.asarray(prediction), jnp.asarray(target)
    if prediction.shape != target.shape:
        raise ValueError(f"the prediction's shape {prediction.shape} is not the target's {target.shape}")
    return prediction, target


def _check_labels(label: jax.Array, shape: tuple[int, ...]) -> None:
    if label.shape != shape or not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(f"labels are integers of the shape {shape}, one an example, not {label.dtype} {label.shape}")
