"""Hard functions with the derivative of the identity, inside any module (Bengio et al. 2013, arXiv 1308.3432)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Elementwise = Callable[[jax.Array], jax.Array]
EVERYWHERE = (-jnp.inf, jnp.inf)


def straight_through(function: Elementwise, window: tuple[float, float] = EVERYWHERE) -> Elementwise:
    """The function, with derivative 1 where `low <= x <= high` and 0 elsewhere.

    Args:
      function: of real numbers, to an array of the same shape and type.
      window: low and high; where the argument has left it, a gradient could only drive it further away.

    Raises:
      ValueError: the window is empty.
    """
    low, high = window
    if not low < high:
        raise ValueError(f"the window {window} of a straight-through function is empty: low must be below high")

    @jax.custom_jvp
    def hard(x):
        return function(x)

    @hard.defjvp
    def _(primals, tangents):
        (x,), (tangent,) = primals, tangents
        return hard(x), jnp.where((low <= x) & (x <= high), tangent, jnp.zeros_like(tangent))

    return hard


def sign_through(x: jax.Array, window: tuple[float, float] = (-1.0, 1.0)) -> jax.Array:
    """1 from 0 upwards, else -1, so always a valid code."""
    return straight_through(lambda x: jnp.where(x < 0, -jnp.ones_like(x), jnp.ones_like(x)), window)(x)


def step_through(x: jax.Array, window: tuple[float, float] = (-1.0, 1.0)) -> jax.Array:
    """1 from 0 upwards, else 0."""
    return straight_through(lambda x: (x >= 0).astype(x.dtype), window)(x)


def round_through(x: jax.Array, window: tuple[float, float] = EVERYWHERE) -> jax.Array:
    """The nearest whole number, the even one of two."""
    return straight_through(jnp.round, window)(x)


def argmax_through(x: jax.Array, window: tuple[float, float] = EVERYWHERE) -> jax.Array:
    """One-hot vectors of the largest entry along the last axis, the first of several."""
    return straight_through(lambda x: jax.nn.one_hot(x.argmax(-1), x.shape[-1], dtype=x.dtype), window)(x)
