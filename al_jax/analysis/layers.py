"""What every layer of a network hands up on the path of inference."""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np

from al_jax import networks, rules
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


class Layer(NamedTuple):
    """One layer's place on the path, from 1, and what it made of the images, `(N, ...)`."""

    number: int
    kind: str
    output: np.ndarray


def layer_outputs(
    network: Network, variables: Sequence[Variables], images: np.ndarray, numbers: Sequence[int] | None = None
) -> list[Layer]:
    """Runs images through all components and keeps the outputs of layers, all or those of these numbers that exist.

    The network's own `predict` is followed, whatever rule made it: every call of a backbone's or code's layer is noted
    in its order.
    """
    kinds: list[str] = []

    @jax.jit
    def run(variables, images):
        outputs = []

        def note(call, args, kwargs, context):
            output = call(*args, **kwargs)
            if context.method_name == "__call__" and isinstance(context.module, LAYERS):
                outputs.append(output)
                kinds.append(type(context.module).__name__)
            return output

        with nn.intercept_methods(note):
            network.predict(variables, images)
        existing = range(1, len(outputs) + 1)
        wanted = existing if numbers is None else [number for number in numbers if number in existing]
        return {number: outputs[number - 1] for number in wanted}

    parts = [
        jax.device_get(run(list(variables), images[start : start + BATCH])) for start in range(0, len(images), BATCH)
    ]
    return [
        Layer(number, kinds[number - 1], np.concatenate([part[number] for part in parts]))
        for number in sorted(parts[0])
    ]
