"""Operators of population search: pytrees whose leaves have a leading axis of `K` individuals, and explicit keys."""

import jax
import jax.numpy as jnp

from al_jax.machines.scores import Score
from al_jax.machines.types import PyTree


def best_individual(population: PyTree, score: Score) -> PyTree:
    """The individual that is best on the average over samples, of scores `(K,)` or `(K, B)`; the first of equals."""
    best = score.gain.reshape(len(score.value), -1).mean(1).argmax()
    return jax.tree.map(lambda leaf: leaf[best], population)


def best_per_sample(population: PyTree, score: Score) -> PyTree:
    """For each sample what is best for it, `(B, ...)`, of leaves `(K, B, ...)` and scores `(K, B)`; first of equals."""
    best = score.gain.argmax(0)
    return jax.tree.map(lambda leaf: leaf[best, jnp.arange(len(best))], population)


def best_individuals(population: PyTree, score: Score, number: int) -> PyTree:
    """The `number` best of scores `(K,)`, the best first."""
    _, best = jax.lax.top_k(score.gain, number)
    return jax.tree.map(lambda leaf: leaf[best], population)


def fitness_probabilities(score: Score) -> jax.Array:
    """Probabilities `(K,)` proportional to the distance from the worst number; all alike where all scores are."""
    worst = jnp.min(score.gain, where=score.gain > -jnp.inf, initial=jnp.inf)
    above = jnp.maximum(score.gain - worst, 0)
    total = above.sum()
    return jnp.where(total > 0, above / jnp.where(total > 0, total, 1), 1 / len(above))


def rank_probabilities(score: Score) -> jax.Array:
    """Probabilities `(K,)` proportional to the rank: 1 for the worst, `K` for the best, in order where scores tie."""
    ranks = jnp.float32(jnp.argsort(jnp.argsort(score.gain)) + 1)
    return ranks / ranks.sum()


def softmax_probabilities(score: Score, temperature: float = 1.0) -> jax.Array:
    """Probabilities `(K,)` of Boltzmann's distribution."""
    return jax.nn.softmax(score.gain / temperature)


def select(key: jax.Array, population: PyTree, probabilities: jax.Array, number: int) -> PyTree:
    """Draws `number` individuals with replacement."""
    chosen = jax.random.choice(key, len(probabilities), (number,), p=probabilities)
    return jax.tree.map(lambda leaf: leaf[chosen], population)


def uniform_crossover(key: jax.Array, first: PyTree, second: PyTree, rate: float | jax.Array = 0.5) -> PyTree:
    """Children whose every entry is the second parent's with probability `rate`, else the first's."""
    return _drawn(key, lambda key, a, b: jnp.where(jax.random.bernoulli(key, rate, a.shape), b, a), first, second)


def smooth_crossover(key: jax.Array, first: PyTree, second: PyTree) -> PyTree:
    """Children whose every entry is drawn between its parents'."""

    def between(key, a, b):
        share = jax.random.uniform(key, a.shape, a.dtype)
        return jnp.clip(a + share * (b - a), jnp.minimum(a, b), jnp.maximum(a, b))

    return _drawn(key, between, first, second)


def gaussian_mutation(key: jax.Array, population: PyTree, sigma: float | jax.Array) -> PyTree:
    """Adds noise of standard deviation `sigma` to every entry."""
    return _drawn(key, lambda key, a: a + sigma * jax.random.normal(key, a.shape, a.dtype), population)


def binary_mutation(key: jax.Array, population: PyTree, rate: float | jax.Array) -> PyTree:
    """Flips every entry, 0 or 1 or a truth value, with probability `rate`."""

    def flipped(key, a):
        other = ~a if a.dtype == bool else 1 - a
        return jnp.where(jax.random.bernoulli(key, rate, a.shape), other, a)

    return _drawn(key, flipped, population)


def slope(population: PyTree, score: Score) -> PyTree:
    """The least-squares slope of scores `(K,)` along every entry by itself; 0 where the individuals do not differ."""
    value = score.value - score.value.mean()

    def along(leaf):
        differences = leaf - leaf.mean(0, keepdims=True)
        squares = jnp.square(differences).sum(0)
        return jnp.where(squares > 0, jnp.tensordot(value, differences, 1) / jnp.where(squares > 0, squares, 1), 0)

    return jax.tree.map(along, population)


def decayed(old: PyTree, new: PyTree, decay: float | jax.Array) -> PyTree:
    """The running mean `decay * old + (1 - decay) * new`."""
    return jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, old, new)


def with_momentum(velocity: PyTree, change: PyTree, momentum: float | jax.Array) -> PyTree:
    """The velocity `momentum * velocity + change`, which is what to add."""
    return jax.tree.map(lambda v, d: momentum * v + d, velocity, change)


def _drawn(key, operator, *trees):
    leaves, structure = jax.tree.flatten(trees[0])
    keys = jax.tree.unflatten(structure, list(jax.random.split(key, len(leaves))))
    return jax.tree.map(operator, keys, *trees)
