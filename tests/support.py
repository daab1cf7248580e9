"""Small networks, batches and comparisons that several tests share."""

import json
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import al_jax as al
from al_jax.networks.convolution import conv_general_dilated

KEY = jax.random.key(0)


class ConvBlock(nn.Module):
    """Convolution, and on request a stride, batch norm and dropout."""

    width: int
    stride: int = 1
    norm: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(self.width, (3, 3), strides=self.stride, conv_general_dilated=conv_general_dilated)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dropout(self.dropout, deterministic=not train)(nn.elu(x))


def users_emitters():
    """Options for a compilation by XLA's newer emitters, which users have and tests leave out for time."""
    left_out = "--xla_cpu_use_fusion_emitters=false" in os.environ.get("XLA_FLAGS", "")
    return {"xla_cpu_use_fusion_emitters": True} if left_out else {}


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
            assert np.isfinite(np.asarray(leaf)).all(), jax.tree_util.keystr(path)


def clip_decay_partition(index):
    """A different optimizer for each component: clipping, weight decay, partition by label, a schedule."""
    schedule = optax.cosine_decay_schedule(1e-2 / (index + 1), 20)
    return optax.chain(
        optax.clip_by_global_norm(0.1),
        optax.partition(
            {
                "associated": optax.adamw(schedule, weight_decay=1e-2),
                "autoencoder": optax.sgd(schedule, momentum=0.9),
            },
            {"f": "associated", "b": "associated", "g": "autoencoder", "h": "autoencoder"},
        ),
    )


class Classifier(nn.Module):
    """Global average pooling and one dense layer, what published residual networks have on top."""

    classes: int = 10

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.classes)(x.mean((1, 2)))


def features_of(blocks, image):
    """The shapes that the blocks hand up, computed without a number."""
    return [features.shape[1:] for features, _ in _abstractly(blocks, image)]


def parameters_of(blocks, image):
    """The parameters of all blocks, counted without computing one."""
    return sum(leaf.size for _, own in _abstractly(blocks, image) for leaf in jax.tree.leaves(own["params"]))


def _abstractly(blocks, image):
    """What each block hands up and its variables, as shapes."""
    signal = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    for block in blocks:
        signal, own = jax.eval_shape(lambda x, block=block: block.init_with_output(KEY, x, train=True), signal)
        yield signal, own


class Local(nn.Module):
    """A user's own component: features, on request batch norm, dropout and a second loss, a classifier."""

    width: int
    classes: int = 4
    norm: bool = False
    dropout: float = 0.0
    penalty: float = 0.0

    @nn.compact
    def __call__(self, signal, train):
        features = nn.Dense(self.width)(signal["image"].reshape(len(signal["label"]), -1))
        if self.norm:
            features = nn.BatchNorm(use_running_average=not train, momentum=0.9)(features)
        features = nn.Dropout(self.dropout, deterministic=not train)(nn.elu(features))
        losses = {"local": al.cross_entropy(nn.Dense(self.classes)(features), signal["label"])}
        if self.penalty:
            losses["penalty"] = self.penalty * jnp.mean(jnp.square(features))
        return {"image": features, "label": signal["label"]}, losses


def top_features(components):
    """A prediction for a user's own chain: what its top component hands up."""

    def predict(variables, images, depth=None):
        signal = {"image": images, "label": jnp.zeros(len(images), jnp.int32)}
        for part, own in list(zip(components, variables, strict=True))[:depth]:
            signal, _, _ = part.apply(own, signal, jax.random.key(0), False)
        return signal["image"]

    return predict


def parameter_shapes(network, batch):
    """The parameters of every component as shapes, without computing any."""
    return [own.get("params", {}) for own in _variable_shapes(network, batch)]


def random_variables(network, batch, seed=0):
    """Variables of every component drawn by NumPy, so that nothing is compiled; biases are not zero."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        values = rng.normal(0, 0.5, leaf.shape) if path[0].key == "params" else rng.uniform(0.5, 1, leaf.shape)
        return jnp.asarray(values, leaf.dtype)

    return [jax.tree_util.tree_map_with_path(draw, own) for own in _variable_shapes(network, batch)]


def random_components(network, optimizer, batch, seed=0):
    """Components before their first update, for `Trainer.place`."""
    components = []
    for index, own in enumerate(random_variables(network, batch, seed)):
        params = own.pop("params", {})
        rule = optimizer if isinstance(optimizer, optax.GradientTransformation) else optimizer(index)
        key = jnp.asarray([seed, index], jnp.uint32)
        components.append(al.ComponentState(params, own, jax.jit(rule.init)(params), jnp.int32(0), key))
    return tuple(components)


def _variable_shapes(network, batch):
    """Traces each component no oftener than it must be, for networks of many layers."""
    key, signal, found = jax.eval_shape(lambda: jax.random.key(0)), jax.eval_shape(dict, batch), []
    for index, part in enumerate(network.components):
        if index:
            below = network.components[index - 1]
            signal, *_ = jax.jit(below.apply, static_argnums=3).eval_shape(found[-1], signal, key, True)
        found.append(dict(jax.eval_shape(part.init, key, signal)))
    return found


def write_result(path, *accuracies, **config):
    """Leaves a file as in results/, of a run with these accuracies of its seeds."""
    runs = [
        {
            "seed": seed,
            "test_accuracy": accuracy,
            "epochs": 5,
            "processor": "a processor",
            "backend": "cpu",
            "parameters": 1234,
            "effective_parameters": 1000,
            "config": {"seed": seed, "examples": 0, **config},
        }
        for seed, accuracy in enumerate(accuracies)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"name": path.stem, "runs": runs}))
