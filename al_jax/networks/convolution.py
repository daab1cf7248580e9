"""Convolution whose gradients are fast inside loops on CPU.

XLA brings the convolutions of a gradient into the layout that its fast CPU kernels want, but only those that stand
outside of every loop (jax-ml/jax#12868). An engine's step is a loop over micro-batches, where gradients therefore took
the slow path: on one core 1 to 5 GFLOP/s against 50 to 90 (not recorded). Here they are written in that layout to begin
with.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv_general_dilated(x, kernel, strides, padding, **options) -> jax.Array:
    """`jax.lax.conv_general_dilated` for Flax's `nn.Conv(conv_general_dilated=...)`.

    On CPU, plain two-dimensional convolutions have their gradients rewritten, which costs them forward-mode
    differentiation; everything else goes to JAX as it is.
    """
    if jax.default_backend() != "cpu" or not _is_plain(x, options):
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    return _convolve(x, kernel, tuple(strides), tuple(map(tuple, padding)))


def _is_plain(x: jax.Array, options: Mapping[str, Any]) -> bool:
    """Whether it is a convolution of images in Flax's layout, without dilation, groups or a precision of its own."""
    layout = jax.lax.conv_dimension_numbers(x.shape, x.shape, LAYOUT) if x.ndim == 4 else None
    usual = {
        "lhs_dilation": (None, (1, 1)),
        "rhs_dilation": (None, (1, 1)),
        "dimension_numbers": (LAYOUT, layout),
        "feature_group_count": (1,),
    }
    given = {name: value for name, value in options.items() if value is not None}
    return (
        layout is not None
        and "dimension_numbers" in given
        and all(value in usual.get(name, ()) for name, value in given.items())
    )


def _plain(x, kernel, strides, padding):
    if min(map(min, padding)) < 0:  # as in gradients of padding by a whole kernel and more
        # XLA's CPU kernel reads beyond an image that is cropped at its beginning and padded at its end.
        crop = [(min(low, 0), min(high, 0), 0) for low, high in padding]
        x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *crop, (0, 0, 0)])
        padding = [(max(low, 0), max(high, 0)) for low, high in padding]
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=LAYOUT)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x, kernel, strides, padding):
    return _plain(x, kernel, strides, padding)


def _forward(x, kernel, strides, padding):
    return _plain(x, kernel, strides, padding), (x, kernel)


def _backward(strides, padding, residuals, cotangent):
    """Both gradients are convolutions with the cotangent, spread out to where the strides put its entries."""
    x, kernel = residuals
    spread = [(0, 0, 0), *((0, 0, stride - 1) for stride in strides), (0, 0, 0)]
    cotangent = jax.lax.pad(cotangent, jnp.zeros((), cotangent.dtype), spread)
    before, below = [], []
    for (low, _), size, taps, reach in zip(padding, x.shape[1:3], kernel.shape[:2], cotangent.shape[1:3], strict=True):
        before.append((taps - 1 - low, size - reach + low))
        below.append((low, taps - 1 + reach - size - low))

    mirrored = jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2)
    by_x = _plain(cotangent, mirrored, (1, 1), before)
    # Channels in the place of examples, examples in that of channels.
    by_kernel = _plain(x.transpose(3, 1, 2, 0), cotangent.transpose(1, 2, 0, 3), (1, 1), below)
    return by_x, by_kernel.transpose(1, 2, 0, 3)


_convolve.defvjp(_forward, _backward)
