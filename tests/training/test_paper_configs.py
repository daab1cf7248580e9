"""Configs of the paper's networks: the authors' numbers of parameters, and arms that differ in nothing else."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from support import parameter_shapes

from al_jax.chain import parameter_counts
from al_jax.data import unit_range
from al_jax.training.facts import DataFacts
from al_jax.training.networks import build_network

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
IMAGES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3), "cifar100": (32, 32, 3)}

# Parameters of the authors' backprop network, and of their Associated Learning in training and in inference.
PUBLISHED = {
    ("mnist_mlp", ""): (13_405_194, 24_957_962, 13_405_194),
    ("mnist_cnn", ""): (4_700_586, 62_085_546, 4_700_586),
    ("cifar_mlp", ""): (117_273_010, 216_327_010, 117_273_010),
    ("cifar_mlp", "cifar100"): (117_543_100, 216_867_100, 117_543_100),
    ("cifar_cnn", ""): (5_929_962, 80_518_122, 5_929_962),
    ("cifar_cnn", "cifar100"): (12_452_520, 160_373_520, 12_452_520),
    ("cifar_resnet", ""): (1_099_526, 70_211_726, 7_142_126),
    ("cifar_resnet", "resnet32"): (1_294_406, 70_406_606, 7_337_006),
    ("cifar_vgg", ""): (10_596_070, 164_355_694, 12_198_094),
    # Of these the millions are known; the rest is counted by hand, layer by layer.
    ("cifar_resnet", "cifar100"): (2_496_016, 119_528_016, 12_567_016),
    ("cifar_resnet", "resnet32,cifar100"): (2_690_896, 119_722_896, 12_761_896),
    ("cifar_vgg", "cifar100"): (13_976_560, 269_991_984, 14_550_984),
}


def read(name, *variants):
    return runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](",".join(filter(None, variants)))


def count(config):
    classes = 100 if config.dataset == "cifar100" else 10
    image = IMAGES[config.dataset]
    network = build_network(config, DataFacts(classes, image, unit_range()))
    batch = {
        "image": jax.ShapeDtypeStruct((2, *image), jnp.float32),
        "label": jax.ShapeDtypeStruct((2,), jnp.int32),
    }
    return parameter_counts(network, parameter_shapes(network, batch))


@pytest.mark.parametrize("key", PUBLISHED, ids=lambda key: " ".join(key))
def test_the_authors_arms_have_the_authors_numbers_of_parameters(key):
    backprop, training, inference = PUBLISHED[key]
    assert count(read(*key, "authors")) == (training, inference)
    assert count(read(*key, "authors_backprop")) == (backprop, backprop)


@pytest.mark.parametrize(
    "key", [*PUBLISHED, ("cifar_resnet", "two"), ("cifar_resnet", "three")], ids=lambda key: " ".join(key)
)
def test_the_fair_arm_is_the_inference_network_in_the_same_training(key):
    ours, fair = read(*key), read(*key, "backprop")
    assert count(fair)[0] == count(ours)[1]
    # Each rule has its own rate, out of the same search, and its own hidden units: backprop ReLUs.
    allowed = {"rule", "activation", "bridge_hidden", "codes", "learning_rate"}
    assert {name for name in ours if ours[name] != fair[name]} <= allowed


def test_the_fair_arm_has_no_hidden_units_of_its_own():
    assert read("cifar_cnn", "elu_bridges", "backprop").to_dict() == read("cifar_cnn", "backprop").to_dict()


def test_the_authors_recipe():
    for name in ("cifar_mlp", "cifar_cnn", "cifar_resnet", "cifar_vgg"):
        config = read(name, "authors")
        assert (config.batch_size, config.epochs, config.schedule) == (32, 200, "steps")
        assert (config.learning_rate, config.autoencoder_rate, config.epsilon_hat) == (1e-4, 2.0, True)
        assert (config.augmentation, config.codes) == ("authors", "online")
        assert (config.bridge, config.bridge_hidden) == ("paper", "sigmoid")
    assert read("cifar_resnet", "authors_backprop").learning_rate == 1e-3
    assert read("cifar_resnet", "authors_backprop").l2 == 1e-4
    assert read("cifar_resnet", "cifar100", "authors_backprop").l2 == 5e-4
    assert (read("cifar_vgg", "authors").l2, read("cifar_vgg", "authors_backprop").l2) == (1e-5, 5e-4)
