"""What the blocks of a backbone hand up: of every component one, of `al.backprop` all of its blocks."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.components import Component
from al_jax.types import Network, Signal, Variables

OWN_BLOCKS = "blocks_"  # how Linen names the blocks of a module that keeps them in `blocks`, as backprop's does
Outputs = Callable[[Sequence[Variables], jax.Array], tuple[jax.Array, ...]]


def block_outputs(network: Network) -> Outputs:
    """Makes `(variables, images) -> outputs (B, ...) of each block`, from the input upwards and in inference mode.

    A component hands up its block's output as the `features` of its signal. One that hands up none, as the single
    component of backprop, is looked into for the blocks that its module has.

    The function raises a `ValueError` where a component has neither.

    Example:
      >>> import jax.numpy as jnp, al_jax as al
      >>> network = al.backprop(al.networks.mlp([5, 6]), classes=3, code=4)
      >>> images = jnp.ones((2, 4, 4, 1))
      >>> own = network.components[0].init(jax.random.key(0), {"image": images, "label": jnp.zeros(2, jnp.int32)})
      >>> [output.shape for output in block_outputs(network)([own], images)]
      [(2, 5), (2, 6)]
    """

    def outputs(variables, images):
        signal, found = {"image": images, "label": jnp.zeros(len(images), jnp.int32)}, []
        for index, (part, own) in enumerate(zip(network.components, variables, strict=True)):
            signal, blocks = _apply(part, own, signal)
            if isinstance(signal, Mapping) and "features" in signal:
                found.append(signal["features"])
            elif blocks:
                found += blocks
            else:
                raise ValueError(f"component {index + 1} ({part.name}) hands up no features, and its module no blocks")
        return tuple(found)

    return outputs


def _apply(part: Component, own: Variables, signal: Signal) -> tuple[Signal, list[jax.Array]]:
    """The signal that a component hands up, and what the blocks of its module made on the way."""
    noted: dict[str, jax.Array] = {}

    def note(call, args, kwargs, context):
        output = call(*args, **kwargs)
        path = context.module.path
        if context.method_name == "__call__" and len(path) == 1 and path[0].startswith(OWN_BLOCKS):
            noted[path[0]] = output
        return output

    with nn.intercept_methods(note):
        signal_up, _, _ = part.apply(own, signal, jax.random.key(0), False)
    return signal_up, list(noted.values())


def averaged(features: jax.Array) -> jax.Array:
    """One vector an example, float32: means of channels over the image, other features flattened."""
    features = jnp.asarray(features, jnp.float32)
    return features.mean((1, 2)) if features.ndim == 4 else features.reshape(len(features), -1)


def in_batches(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """All images, in batches of `size` and a last one of what remains."""
    for start in range(0, len(images), size):
        yield images[start : start + size]
