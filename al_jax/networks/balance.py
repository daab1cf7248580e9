"""Cuts that spread the memory of training evenly over components."""

import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax
import numpy as np

from al_jax.components import call_block


def balanced_cuts(layers: Sequence[nn.Module], image: tuple[int, int, int], components: int) -> tuple[int, ...]:
    """Cuts for which the component that keeps most for its backward pass keeps as little as possible.

    Args:
      layers: all layers of a network, from the input upwards; `blocks[0].layers` of one cut into a single block.
      image: `(H, W, C)`.
      components: how many blocks to make.

    Returns:
      The number of layers in each block.

    Raises:
      ValueError: there are more components than layers.
    """
    return min_max_partition(kept_bytes(layers, image), components)


def kept_bytes(layers: Sequence[nn.Module], image: tuple[int, int, int]) -> list[int]:
    """Bytes an example that the backward pass of each layer needs from its forward pass."""
    x, found, examples = jax.ShapeDtypeStruct((2, *image), np.float32), [], 2
    for layer in layers:
        variables = jax.eval_shape(lambda x, layer=layer: layer.init(jax.random.key(0), x, True, method=call_block), x)
        model_state = {name: tree for name, tree in variables.items() if name != "params"}

        def kept(params, model_state, x, layer=layer):
            def forward(params, x):
                variables, rngs = {"params": params, **model_state}, {"params": jax.random.key(0)}
                return layer.apply(variables, x, True, method=call_block, mutable=list(model_state), rngs=rngs)

            y, backward, _ = jax.vjp(forward, params, x, has_aux=True)
            return y, jax.tree.leaves(backward)

        x, residuals = jax.eval_shape(kept, variables.get("params", {}), model_state, x)
        # What has no axis of examples, such as kernels, is kept anyway.
        found.append(sum(r.size * r.dtype.itemsize // examples for r in residuals if r.shape[:1] == (examples,)))
    return found


def min_max_partition(costs: Sequence[float], parts: int) -> tuple[int, ...]:
    """Sizes of contiguous, non-empty parts whose largest sum is as small as possible.

    Raises:
      ValueError: there are fewer costs than parts.

    Example:
      >>> min_max_partition([9, 1, 1, 5, 4], 3)
      (1, 2, 2)
    """
    number = len(costs)
    if not 1 <= parts <= number:
        raise ValueError(f"{number} layers cannot be cut into {parts} blocks")
    sums = [0, *itertools.accumulate(costs)]
    best = {(0, 0): (0.0, 0)}  # (parts, costs taken): the largest sum, and where the last part begins
    for part in range(1, parts + 1):
        for end in range(part, number - (parts - part) + 1):
            starts = [start for start in range(part - 1, end) if (part - 1, start) in best]
            best[part, end] = min((max(best[part - 1, s][0], sums[end] - sums[s]), s) for s in starts)
    sizes, end = [], number
    for part in range(parts, 0, -1):
        start = best[part, end][1]
        sizes.append(end - start)
        end = start
    return tuple(reversed(sizes))
