"""Losses `(prediction, target) -> scalar`, means over the micro-batch."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def mean_squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean over examples and units, in float32 whatever the networks compute in."""
    if prediction.shape != target.shape:
        raise ValueError(f"the prediction's shape {prediction.shape} is not the target's {target.shape}")
    return jnp.mean(jnp.square(prediction.astype(jnp.float32) - target.astype(jnp.float32)))


def cross_entropy(scores: jax.Array, label: jax.Array) -> jax.Array:
    """Mean softmax cross-entropy of `(B, C)` scores and `(B,)` integer labels, in float32."""
    log_probabilities = nn.log_softmax(scores.astype(jnp.float32))
    return -jnp.mean(jnp.take_along_axis(log_probabilities, label[:, None], axis=1))
