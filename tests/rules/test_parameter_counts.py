"""Invariant 6: parameter counts are those of the authors' networks, counted without computing one."""

import jax
import jax.numpy as jnp
import pytest
from support import parameter_shapes

import al_jax as al
from al_jax.chain import parameter_counts

# The image, classes, width, parameters of backprop and of AL's inference, and of AL's training.
PUBLISHED = {
    "mnist": ((28, 28, 1), 10, 1024, 13_405_194, 24_957_962),
    "cifar10": ((32, 32, 3), 10, 3000, 117_273_010, 216_327_010),
    "cifar100": ((32, 32, 3), 100, 3000, 117_543_100, 216_867_100),
}


def counts(network, image):
    batch = {
        "image": jax.ShapeDtypeStruct((2, *image), jnp.float32),
        "label": jax.ShapeDtypeStruct((2,), jnp.int32),
    }
    return parameter_counts(network, parameter_shapes(network, batch))


@pytest.mark.parametrize(("image", "classes", "width", "inference", "training"), PUBLISHED.values(), ids=PUBLISHED)
def test_mlps_have_the_published_numbers_of_parameters(image, classes, width, inference, training):
    blocks = al.networks.mlp([width, width])
    assert counts(al.associated(blocks, classes, width), image) == (training, inference)
    assert counts(al.backprop(blocks, classes, width), image) == (inference, inference)


def test_inference_uses_every_f_and_h_and_the_top_bridge():
    network = al.associated(al.networks.mlp([5, 6, 7]), classes=4, code=3)
    lower, top = {"f": True, "b": False, "g": False, "h": True}, {"f": True, "b": True, "g": False, "h": True}
    assert network.effective == (lower, lower, top)
