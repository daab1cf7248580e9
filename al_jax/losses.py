"""Losses `(prediction, target) -> scalar`, means over the micro-batch."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def mean_squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean over examples and units, in float32 whatever the networks compute in.

    Raises:
      ValueError: the two have different shapes.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"the prediction's shape {prediction.shape} is not the target's {target.shape}")
    return jnp.mean(jnp.square(prediction.astype(jnp.float32) - target.astype(jnp.float32)))


def cross_entropy(scores: jax.Array, label: jax.Array) -> jax.Array:
    """Mean softmax cross-entropy of `(B, C)` scores and `(B,)` integer labels, in float32; NaN for labels of no class.

    Raises:
      ValueError: the labels are not one integer for each row of scores.
    """
    _check_labels(label, scores.shape[:1])
    label = jnp.where(label < 0, scores.shape[1], label)  # -1 is no class, and not the last one
    log_probabilities = nn.log_softmax(scores.astype(jnp.float32))
    return -jnp.mean(jnp.take_along_axis(log_probabilities, label[:, None], axis=1))


def one_hot(label: jax.Array, classes: int) -> jax.Array:
    """The one-hot rows `(B, C)` of `(B,)` integer labels; NaN for labels of no class.

    Raises:
      ValueError: the labels are not one integer for each example.
    """
    _check_labels(label, label.shape[:1])
    known = (label >= 0) & (label < classes)
    return jnp.where(known[:, None], jax.nn.one_hot(label, classes), jnp.nan)


def _check_labels(label: jax.Array, shape: tuple[int, ...]) -> None:
    if label.shape != shape or not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(f"labels are integers of the shape {shape}, one an example, not {label.dtype} {label.shape}")
