"""What every layer of a network hands up on the path of inference."""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np

from al_jax import networks, rules
from al_jax.analysis.blocks import in_batches
from al_jax.types import Network, Variables

# A layer as the papers count them; a residual unit counts as one.
LAYERS = (
    networks.ConvLayer,
    networks.ImageStem,
    networks.ResidualUnit,
    networks.BottleneckUnit,
    networks.DenseBlock,
    rules.CodeLayer,
)
BATCH = 500


class Place(NamedTuple):
    """A layer's number on the path, from 1, and the name of its module."""

    number: int
    kind: str


def noted(network: Network, variables: Sequence[Variables], images: jax.Array) -> dict[Place, jax.Array]:
    """Outputs of all layers, `(N, ...)`, from the input upwards; to be called inside jit.

    The network's own `predict` is followed, whatever rule made it: every call of a backbone's or code's layer is noted
    in its order.
    """
    found = {}

    def note(call, args, kwargs, context):
        output = call(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(context.module, LAYERS):
            found[Place(len(found) + 1, type(context.module).__name__)] = output
        return output

    with nn.intercept_methods(note):
        network.predict(variables, images)
    return found


def layer_outputs(
    network: Network, variables: Sequence[Variables], images: np.ndarray, numbers: Sequence[int] | None = None
) -> dict[Place, np.ndarray]:
    """Runs images through all components and keeps the outputs of layers, all or those of these numbers that exist."""

    @jax.jit
    def run(variables, images):
        found = noted(network, variables, images)
        return {place: output for place, output in found.items() if numbers is None or place.number in numbers}

    parts = [jax.device_get(run(list(variables), batch)) for batch in in_batches(images, BATCH)]
    return {place: np.concatenate([part[place] for part in parts]) for place in sorted(parts[0])}
