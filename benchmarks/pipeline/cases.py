"""What the arms train: two networks, each as Associated Learning and as backpropagation on the same inference path."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import al_jax as al
from al_jax.data import load, unit_range
from al_jax.rules import Bridge, CodeLayer

CLASSES = 10
LEARNING_RATE = 3e-4
PREPARE = unit_range()


class Case(NamedTuple):
    """A network, its data and how long one measurement is; goes to other processes.

    Attributes:
      name: what tables call it.
      widths: units of the dense layers, () for the vanilla CNN.
      code: width of all codes.
      expansion: the bridges' hidden units, in widths of the code.
      image: `(H, W, C)`, multiples of 8 by 8.
      batch: examples of an update.
      updates: N, in one measurement.
      micro_batches: of an update, whose gradients are averaged.
      smooth: backpropagation has ELUs in place of ReLUs, and Adam an epsilon above its gradients: to see what differs
        by more than rounding. Rounding opens or shuts a ReLU whose input is almost 0, as seen with micro-batches of
        32, for which the CPU has other products than for 64, and Adam makes much of a gradient of almost 0.
    """

    name: str
    widths: tuple[int, ...]
    code: int
    expansion: int
    image: tuple[int, int, int]
    batch: int
    updates: int
    micro_batches: int = 1
    smooth: bool = False

    def blocks(self) -> Sequence[nn.Module]:
        return al.networks.mlp(self.widths) if self.widths else al.networks.vanilla_cnn()

    def network(self, rule: str) -> al.Network:
        return {"associated": self.associated, "backprop": self.backprop}[rule]()

    def associated(self) -> al.Network:
        bridge = functools.partial(Bridge, expansion=self.expansion, pool=2)
        return al.associated(self.blocks(), CLASSES, self.code, bridge=bridge)

    def backprop(self) -> al.Network:
        activation = nn.elu if self.smooth else nn.relu
        bridge = functools.partial(Bridge, expansion=self.expansion, pool=2, activation=activation)
        decoder = functools.partial(CodeLayer, activation=activation)
        return al.backprop(self.blocks(), CLASSES, self.code, bridge=bridge, decoder=decoder)

    def batches(self, rows: int = 0) -> dict[str, np.ndarray]:
        """The micro-batches of N updates on enlarged digits, and `rows` empty ones in which a pipeline drains."""
        images, labels = digits(self.image, "train")
        order = np.concatenate([np.random.default_rng(epoch).permutation(len(labels)) for epoch in range(self.epochs)])
        index = order[: self.updates * self.batch].reshape(self.updates * self.micro_batches, -1)
        batches = {"image": images[index], "label": labels[index]}
        return {name: np.concatenate([x, np.zeros((rows, *x.shape[1:]), x.dtype)]) for name, x in batches.items()}

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.adam(LEARNING_RATE, eps=1e-2 if self.smooth else 1e-8)

    @property
    def epochs(self) -> int:
        return -(-self.updates * self.batch // len(digits(self.image, "train")[1]))

    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Of a micro-batch as component 1 sees it."""
        return {
            "image": jax.ShapeDtypeStruct((self.batch // self.micro_batches, *self.image), jnp.float32),
            "label": jax.ShapeDtypeStruct((self.batch // self.micro_batches,), jnp.int32),
        }


# Thin bridges: those of the paper are the larger part of the work (`al_jax/analysis/macs.py`). All components of the
# dense network are equal, pixels as many as units, so that half of them are half of the work.
DENSE = Case("balanced MLP", (2048,) * 4, 128, 2, (32, 64, 1), 256, updates=80)
CONVOLUTIONAL = Case("vanilla CNN, 2x2-pooled bridges", (), 256, 5, (32, 32, 3), 64, updates=40)
QUICK = Case("balanced MLP, short", (1280,) * 2, 128, 2, (32, 40, 1), 192, updates=24)  # few programs to compile


@functools.cache
def digits(image: tuple[int, int, int], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `(n, H, W, C)` as uint8 and labels: each pixel of the 8x8 digits becomes a rectangle in every channel."""
    height, width, channels = image
    examples = getattr(load("digits"), split)
    small = np.asarray(examples.image).reshape(-1, 8, 8, 1)
    large = small.repeat(height // 8, axis=1).repeat(width // 8, axis=2).repeat(channels, axis=3)
    return large, np.asarray(examples.label)
