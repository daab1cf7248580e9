"""Votes of several machines, or of several draws of one, made one answer.

Every aggregate takes votes `(n, B, ...)`, from the oldest voter to the newest, and `weights` `(n,)`, at least one of
them above 0; None weighs all alike.
"""

import jax
import jax.numpy as jnp

from al_jax.machines.types import Machine, PyTree


def mean_vote(votes: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The weighted mean, `(B, ...)`."""
    weights = jnp.ones(len(votes), votes.dtype) if weights is None else weights.astype(votes.dtype)
    return jnp.tensordot(weights / weights.sum(), votes, axes=1)


def sign_vote(votes: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """What most of the voters for -1 or 1 say, `(B, ...)`; 0 where the two sides weigh the same."""
    return jnp.sign(mean_vote(jnp.sign(votes), weights))


def rate_vote(votes: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The share of voters who prefer each class, `(B, classes)`, of their scores `(n, B, classes)`."""
    return mean_vote(jax.nn.one_hot(votes.argmax(-1), votes.shape[-1], dtype=votes.dtype), weights)


def majority_vote(votes: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The one-hot code of the class that most voters prefer, the first of equals: `(B, classes)`."""
    return jax.nn.one_hot(rate_vote(votes, weights).argmax(-1), votes.shape[-1], dtype=votes.dtype)


def stochastic_votes(machine: Machine, params: PyTree, fixed: PyTree, x: PyTree, key: jax.Array, voters: int) -> PyTree:
    """What a machine answers to one input with `voters` keys, in training mode: `(voters, B, ...)`."""
    forward = jax.vmap(lambda key: machine.forward(params, fixed, x, key, True)[0])
    return forward(jax.random.split(key, voters))
