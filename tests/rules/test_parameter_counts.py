"""Invariant 6: parameter counts are those of the authors' networks, counted without computing one."""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from support import parameter_shapes

import al_jax as al
from al_jax import networks
from al_jax.chain import parameter_counts
from al_jax.rules import Bridge, CodeLayer

MNIST, CIFAR = (28, 28, 1), (32, 32, 3)
# The authors' backprop networks with batch norm have it in their dense layers too.
normed = {
    "bridge": functools.partial(Bridge, activation=nn.relu, norm=True),
    "decoder": functools.partial(CodeLayer, activation=nn.relu, norm=True),
}
pooled = {**normed, "bridge": functools.partial(normed["bridge"], pool=1)}
cnn, vgg, resnet = networks.vanilla_cnn, networks.vgg, networks.resnet
vgg_of_backprop = vgg(4, dense=(), norm=True)


class Published(NamedTuple):
    """Parameters of the authors' networks: backprop, inference and training of Associated Learning."""

    image: tuple[int, ...]
    classes: int
    code: int
    blocks: Sequence[nn.Module]
    backprop: int
    inference: int
    training: int
    blocks_of_backprop: Sequence[nn.Module] | None = None
    parts_of_backprop: Mapping[str, Any] = MappingProxyType({})


PUBLISHED = {
    "mnist-mlp": Published(MNIST, 10, 1024, networks.mlp([1024] * 2), 13_405_194, 13_405_194, 24_957_962),
    "cifar10-mlp": Published(CIFAR, 10, 3000, networks.mlp([3000] * 2), 117_273_010, 117_273_010, 216_327_010),
    "cifar100-mlp": Published(CIFAR, 100, 3000, networks.mlp([3000] * 2), 117_543_100, 117_543_100, 216_867_100),
    "mnist-cnn": Published(MNIST, 10, 256, cnn(), 4_700_586, 4_700_586, 62_085_546),
    "cifar10-cnn": Published(CIFAR, 10, 256, cnn(), 5_929_962, 5_929_962, 80_518_122),
    "cifar100-cnn": Published(CIFAR, 100, 500, cnn(), 12_452_520, 12_452_520, 160_373_520),
    "cifar10-resnet20": Published(CIFAR, 10, 300, resnet(20), 1_099_526, 7_142_126, 70_211_726, None, pooled),
    "cifar10-resnet32": Published(CIFAR, 10, 300, resnet(32), 1_294_406, 7_337_006, 70_406_606, None, pooled),
    "cifar10-vgg": Published(CIFAR, 10, 300, vgg(), 10_596_070, 12_198_094, 164_355_694, vgg_of_backprop, normed),
    # Of these the millions are known; the rest is counted by hand, layer by layer.
    "cifar100-resnet20": Published(CIFAR, 100, 500, resnet(20), 2_496_016, 12_567_016, 119_528_016, None, pooled),
    "cifar100-resnet32": Published(CIFAR, 100, 500, resnet(32), 2_690_896, 12_761_896, 119_722_896, None, pooled),
    "cifar100-vgg": Published(CIFAR, 100, 500, vgg(), 13_976_560, 14_550_984, 269_991_984, vgg_of_backprop, normed),
}


def counts(network, image):
    batch = {
        "image": jax.ShapeDtypeStruct((2, *image), jnp.float32),
        "label": jax.ShapeDtypeStruct((2,), jnp.int32),
    }
    return parameter_counts(network, parameter_shapes(network, batch))


@pytest.mark.parametrize("net", PUBLISHED.values(), ids=PUBLISHED)
def test_networks_have_the_published_numbers_of_parameters(net):
    assert counts(al.associated(net.blocks, net.classes, net.code), net.image) == (net.training, net.inference)
    blocks = net.blocks_of_backprop or net.blocks
    backprop = al.backprop(blocks, net.classes, net.code, **net.parts_of_backprop)
    assert counts(backprop, net.image) == (net.backprop, net.backprop)


def test_the_six_components_that_the_paper_describes_have_the_same_inference_network():
    *below, top = cnn((1, 1, 1, 1, 1, 3))
    sixth = functools.partial(Bridge, expansion=0, lead=top)
    network = al.associated(below, classes=10, code=(256, 256, 256, 256, 1280), bridge=[*[Bridge] * 4, sixth])
    training, inference = counts(network, CIFAR)
    assert inference == PUBLISHED["cifar10-cnn"].inference
    lower_bridges = sum(features * 1280 + 1280 + 1280 * 256 + 256 for features in (32768, 32768, 32768, 8192))
    encoders = (10 + 1) * 256 + 3 * (256 + 1) * 256 + (256 + 1) * 1280
    assert training == inference + lower_bridges + encoders


def test_inference_uses_every_f_and_h_and_the_top_bridge():
    network = al.associated(al.networks.mlp([5, 6, 7]), classes=4, code=3)
    lower, top = {"f": True, "b": False, "g": False, "h": True}, {"f": True, "b": True, "g": False, "h": True}
    assert network.effective == (lower, lower, top)
