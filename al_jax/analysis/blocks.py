"""What the blocks of a backbone hand up, whether each has a component or one component has them all."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.components import Component
from al_jax.types import Network, Signal, Variables

Outputs = Callable[[Sequence[Variables], jax.Array], tuple[jax.Array, ...]]


class Noted(NamedTuple):
    """What blocks and their layers made while a component was applied, from the input upwards."""

    blocks: list[jax.Array]
    layers: list[jax.Array]


def block_outputs(network: Network, cuts: Sequence[int] | None = None) -> Outputs:
    """Makes `(variables, images) -> outputs (B, ...) of each block`, from the input upwards and in inference mode.

    The rules keep a component's block under `f`, and `al.backprop` all of its blocks in one component. A component of a
    user's own hands its block's output up as the `features` of its signal.

    Args:
      network: of any rule.
      cuts: numbers of layers, to look into the one block of a network trained end to end where others are cut.

    The function raises a `ValueError` where a component has neither blocks nor features, or `cuts` do not take every
    layer.

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
            signal, noted = _apply(part, own, signal)
            if cuts:
                found += _at_ends(noted.layers, cuts)
            elif noted.blocks:
                found += noted.blocks
            elif isinstance(signal, Mapping) and "features" in signal:
                found.append(signal["features"])
            else:
                raise ValueError(f"component {index + 1} ({part.name}) hands up no features, and its module no blocks")
        return tuple(found)

    return outputs


def _apply(part: Component, own: Variables, signal: Signal) -> tuple[Signal, Noted]:
    """The signal that a component hands up, and what its module's blocks made on the way."""
    noted = Noted([], [])

    def note(call, args, kwargs, context):
        output = call(*args, **kwargs)
        if context.method_name == "__call__":
            match context.module.path:
                case [*_, "f", layer] if layer.startswith("layers_"):
                    noted.layers.append(output)
                case [*_, block] if block == "f" or block.startswith("blocks_"):
                    noted.blocks.append(output)
        return output

    with nn.intercept_methods(note):
        signal_up, _, _ = part.apply(own, signal, jax.random.key(0), False)
    return signal_up, noted


def _at_ends(layers: Sequence[jax.Array], cuts: Sequence[int]) -> list[jax.Array]:
    if sum(cuts) != len(layers):
        raise ValueError(f"cuts is {tuple(cuts)}: it must cut the {len(layers)} layers of the network's one block")
    return [layers[end - 1] for end in itertools.accumulate(cuts)]


def averaged(features: jax.Array) -> jax.Array:
    """One vector an example, float32: means of channels over the image, other features flattened."""
    features = jnp.asarray(features, jnp.float32)
    return features.mean((1, 2)) if features.ndim == 4 else features.reshape(len(features), -1)


def in_batches(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """All images, in batches of `size` and a last one of what remains."""
    for start in range(0, len(images), size):
        yield images[start : start + size]
