"""The recipe for ImageNet: every network, cut and rule builds, which is all that can be told without its images."""

import functools
import itertools
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from al_jax.components import call_block
from al_jax.data import imagenet_channels, size_of
from al_jax.training.config import default_config
from al_jax.training.facts import DataFacts
from al_jax.training.networks import build_network
from al_jax.training.optimizers import build_schedule
from al_jax.training.validation import validate

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "imagenet.py"
SIZE = size_of("imagenet2012")
KEY = jax.random.key(0)
# Variants: a network, a rule and a number of components, each of which may be the recipe's own.
CASES = [
    *itertools.product(("", "resnet152", "resnext101"), ("", "greedy", "predsim"), ("", "k4")),
    ("vgg13",),
    ("resnext101", "man_cuts"),
    ("resnet152", "k4", "sequel_cuts"),
]


def read(*variants):
    config = runpy.run_path(str(CONFIG))["get_config"](",".join(variants))
    validate(config)
    return config


@functools.cache
def shape_above(layer, shape):
    """What a layer makes of two images; the units of a stage are equal, so few are traced."""
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    made = jax.eval_shape(lambda x: layer.init_with_output(KEY, x, True, method=call_block)[0], x)
    return made.shape[1:]


def losses_of(network):
    """Names of the losses of every component, from shapes alone: of its block, only what it hands up."""
    label, image = jax.ShapeDtypeStruct((2,), jnp.int32), jax.ShapeDtypeStruct((2, *SIZE.image), jnp.float32)
    shape, found = SIZE.image, []
    for part in network.components:
        for layer in part.module.f.layers:
            shape = shape_above(layer, shape)

        def objective(module, features, signal):
            return module.objective(module.aside(features, True), signal, True)

        features, signal = jax.ShapeDtypeStruct((2, *shape), jnp.float32), {"label": label, "image": image}
        losses, _ = jax.eval_shape(
            lambda *given, module=part.module: module.init_with_output(KEY, *given, method=objective), features, signal
        )
        assert all(loss.shape == () for loss in losses.values())
        found.append(sorted(losses))
    return found


LOSSES = {
    "greedy": ["prediction"],
    "predsim": ["prediction", "similarity"],
    "infopro": ["prediction", "reconstruction"],
}


@pytest.mark.parametrize("momentum", ["", "man"])
@pytest.mark.parametrize("variants", CASES, ids=lambda variants: "-".join(filter(None, variants)) or "resnet101")
def test_every_network_builds_under_every_rule(variants, momentum):
    config = read(*variants, momentum)
    network = build_network(config, DataFacts(SIZE.classes, SIZE.image, imagenet_channels()))
    components = 4 if "k4" in variants else 10 if "vgg13" in variants else 2
    assert losses_of(network) == [LOSSES[config.rule]] * (components - 1) + [["prediction"]]
    assert [part.hear is not None for part in network.components] == [bool(momentum)] * (components - 1) + [False]


def test_the_recipe_is_that_of_the_papers():
    config = read("")
    assert (config.network, config.components, config.epochs, config.batch_size) == ("resnet101", 2, 90, 128)
    assert (config.infopro_first, config.infopro_last) == ("5,0.75", "5,0.75")
    schedule = build_schedule(config, 90)
    assert schedule(0) == pytest.approx(0.05, rel=1e-3)
    assert schedule(44) == pytest.approx(0.025, rel=1e-3)
    assert schedule(89) == 0
    assert read("resnet152").infopro_last == "5,1"
    config = read("resnext101")
    assert (config.batch_size, config.learning_rate) == (64, 0.025)
    config = read("vgg13")
    assert (config.rule, config.components, config.batch_size) == ("greedy", 10, 64)
    assert config.infopro_first == default_config().infopro_first
    assert (read("backprop").components, read("smoke").network) == (1, "resnet8")
