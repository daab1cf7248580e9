"""Linear CKA: how alike are the representations that layers of two networks have of the same images?

Minibatch version of Nguyen, Raghu & Kornblith 2021 (arXiv 2010.15327): three HSICs are averaged over batches before
they are divided, each by the unbiased estimator HSIC_1 of Song et al. 2012, so that what is estimated does not depend
on the batch size. HSIC_1 is computed as an inner product of U-centred kernels (Székely & Rizzo 2014):

    HSIC_1(K, L) = <U(K), U(L)> / (n (n - 3)).
"""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

SMALLEST = 4  # examples; the estimator divides by n - 3


def linear_cka(batches: Iterable[tuple[Sequence[jax.Array], Sequence[jax.Array]]]) -> np.ndarray:
    """CKA of every layer of network A with every layer of network B, `(layers of A, layers of B)`.

    1 for representations that are equal up to a rotation, a scale and a shift, about 0 for unrelated ones; being
    unbiased, it may lie a little below 0. Of a layer that is the same for all images it says nothing.

    Args:
      batches: for each batch of images, the outputs `(n, ...)` of A's layers and those of B's. One batch is in memory
        at a time.

    Raises:
      ValueError: there is no batch, they are not all of one size, or of less than four examples.

    Example:
      >>> x = np.random.default_rng(0).normal(size=(3, 8, 5)).astype(np.float32)
      >>> linear_cka(([batch], [batch, 2 * batch[:, ::-1] + 1]) for batch in x).round(4)
      array([[1., 1.]])
    """
    totals, size = None, None
    for left, right in batches:
        count = len(left[0])
        if count < SMALLEST or count != (size or count):
            raise ValueError(f"a batch has {count} examples: all need the same number, at least {SMALLEST}")
        found = [np.asarray(part, np.float64) for part in _hsic(tuple(left), tuple(right))]
        totals = found if totals is None else [total + part for total, part in zip(totals, found, strict=True)]
        size = count
    if totals is None:
        raise ValueError("there is no batch to compare representations on")
    cross, of_left, of_right = totals
    with np.errstate(divide="ignore", invalid="ignore"):
        return cross / np.sqrt(np.outer(of_left, of_right))


@jax.jit
def _hsic(left: Sequence[jax.Array], right: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """HSIC_1 of each pair of layers, and of each layer with itself: `(A, B)`, `(A,)`, `(B,)`."""
    of_left, of_right = (jnp.stack([_centred_kernel(x) for x in layers]) for layers in (left, right))
    number = left[0].shape[0]
    pairs = number * (number - 3)

    def inner(subscripts, x, y):
        return jnp.einsum(subscripts, x, y, precision=jax.lax.Precision.HIGHEST) / pairs

    return (
        inner("aij,bij->ab", of_left, of_right),
        inner("aij,aij->a", of_left, of_left),
        inner("bij,bij->b", of_right, of_right),
    )


def _centred_kernel(features: jax.Array) -> jax.Array:
    """The U-centred linear kernel `(n, n)` of features `(n, ...)`, zero on its diagonal."""
    flat = jnp.asarray(features, jnp.float32).reshape(len(features), -1)
    # U-centring takes a shift of the features out; doing so beforehand keeps digits that it would cancel.
    flat = flat - flat.mean(0, keepdims=True)
    number = len(flat)
    off_diagonal = 1 - jnp.eye(number, dtype=flat.dtype)
    kernel = jnp.matmul(flat, flat.T, precision=jax.lax.Precision.HIGHEST) * off_diagonal
    rows = kernel.sum(1, keepdims=True) / (number - 2)
    total = kernel.sum() / ((number - 1) * (number - 2))
    return (kernel - rows - rows.T + total) * off_diagonal
