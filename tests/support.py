"""Small networks, batches and comparisons that several tests share."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import al_jax as al


class ConvBlock(nn.Module):
    """Convolution, and on request a stride, batch norm and dropout."""

    width: int
    stride: int = 1
    norm: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(self.width, (3, 3), strides=self.stride)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dropout(self.dropout, deterministic=not train)(nn.elu(x))


def mixed_blocks():
    """Five unequal blocks: conv, strided conv with dropout, two convs with batch norm, two dense."""
    return (
        ConvBlock(4),
        ConvBlock(6, stride=2, dropout=0.2),
        ConvBlock(5, norm=True),
        *al.networks.mlp([12, 7]),
    )


def make_batches(number, size=8, shape=(6, 6, 1), classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.random((number, size, *shape), np.float32),
        "label": rng.integers(0, classes, (number, size)).astype(np.int32),
    }


def first(batches):
    return jax.tree.map(lambda x: x[0], batches)


def train(trainer, components, *calls):
    """Places the components, steps through the calls' batches and returns the canonical components."""
    state = trainer.place(components)
    for batches in calls:
        state, _ = trainer.step(state, batches)
    return trainer.components(state)


def assert_same_bits(left, right):
    """Every leaf has the same path, type, shape and bytes."""
    left, right = jax.tree_util.tree_leaves_with_path(left), jax.tree_util.tree_leaves_with_path(right)
    assert [path for path, _ in left] == [path for path, _ in right]
    different = [
        jax.tree_util.keystr(path)
        for (path, a), (_, b) in zip(left, right, strict=True)
        if a.dtype != b.dtype or np.asarray(a).tobytes() != np.asarray(b).tobytes()
    ]
    assert not different, f"{len(different)} of {len(left)} leaves differ, the first: {different[:4]}"


def assert_finite(tree):
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            assert bool(jnp.isfinite(leaf).all()), jax.tree_util.keystr(path)


def clip_decay_partition(index):
    """A different optimizer for each component: clipping, weight decay, partition by label, a schedule."""
    schedule = optax.cosine_decay_schedule(1e-2 / (index + 1), 20)
    return optax.chain(
        optax.clip_by_global_norm(0.1),
        optax.partition(
            {"associated": optax.adamw(schedule, weight_decay=1e-2), "autoencoder": optax.sgd(schedule, momentum=0.9)},
            {"f": "associated", "b": "associated", "g": "autoencoder", "h": "autoencoder"},
        ),
    )
