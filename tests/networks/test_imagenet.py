"""The networks for images of 224x224: parameters counted and shapes found without computing a number."""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import KEY, Classifier, features_of, parameters_of

from al_jax import networks
from al_jax.networks.imagenet import MaxPool

IMAGE = (224, 224, 3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet101", 44_549_160), ("resnet152", 60_192_808), ("resnext101", 88_791_336)],
)
def test_residual_networks_have_the_parameters_of_torchvision(name, parameters):
    assert parameters_of((*networks.imagenet_resnet(name), Classifier(1000)), IMAGE) == parameters


def test_vgg13_with_its_head_has_the_parameters_of_torchvision():
    assert parameters_of((*networks.vgg13(), networks.VggHead()), IMAGE) == 133_053_736


def test_residual_stages_halve_the_image():
    assert features_of(networks.imagenet_resnet("resnet101", width=1 / 64), IMAGE) == [
        (56, 56, 1),
        (56, 56, 4),
        (28, 28, 8),
        (14, 14, 16),
        (7, 7, 32),
    ]


def test_the_last_pooling_of_vgg13_is_the_heads():
    blocks = networks.vgg13((2, 2, 2, 2, 2), width=1 / 64)
    shapes = [(224, 224, 1), (112, 112, 2), (56, 56, 4), (28, 28, 8), (14, 14, 8)]
    assert features_of((*blocks, networks.VggHead(5, units=3)), IMAGE) == [*shapes, (5,)]
    head = jax.eval_shape(lambda: networks.VggHead(5, units=3).init(KEY, jnp.zeros((1, 14, 14, 8)), False))
    assert head["params"]["Dense_0"]["kernel"].shape == (7 * 7 * 8, 3)


def test_every_max_pooling_of_vgg13_opens_a_layer():
    layers = [layer for block in networks.vgg13() for layer in block.layers]
    opening = [isinstance(layer, networks.Stack) and isinstance(layer.layers[0], MaxPool) for layer in layers]
    assert opening == [False, False, *(True, False) * 4]


def test_networks_of_the_least_width_keep_their_groups():
    blocks = networks.imagenet_resnet("resnext101", cuts=2, width=1e-6)
    assert len(blocks) == 2
    units = [layer for block in blocks for layer in block.layers][1:]
    assert {(unit.width, unit.inner, unit.groups) for unit in units} == {(1, 32, 32)}
    assert features_of(blocks, (32, 32, 3))[-1] == (1, 1, 1)
    assert features_of(networks.vgg13(1, width=1e-6), (32, 32, 3)) == [(2, 2, 1)]


def test_a_grouped_unit_has_one_kernel_a_group():
    unit = networks.BottleneckUnit(8, inner=12, stride=2, groups=3)
    params = jax.eval_shape(lambda: unit.init(KEY, jnp.zeros((1, 4, 4, 8)), True))["params"]
    shapes = {name: own["kernel"].shape for name, own in params.items() if name.startswith("Conv")}
    assert shapes == {
        "Conv_0": (1, 1, 8, 12),
        "Conv_1": (3, 3, 4, 12),
        "Conv_2": (1, 1, 12, 8),
        "Conv_3": (1, 1, 8, 8),
    }
    assert sum(name.startswith("BatchNorm") for name in params) == 4
    assert not any("bias" in own for name, own in params.items() if name.startswith("Conv"))
    run = lambda: unit.init(KEY, jnp.zeros((1, 4, 4, 8)), True, mutable=True, capture_intermediates=True)
    made = jax.eval_shape(run)["intermediates"]
    heights = [made[f"Conv_{index}"]["__call__"][0].shape[1] for index in range(4)]
    assert heights == [4, 2, 2, 2]  # version 1.5: the 3x3 convolution has the stride


def test_a_unit_that_keeps_the_shape_adds_its_input_as_it_is():
    # Without scales and biases, nothing but the shortcut is left, under the one activation after the addition.
    x = jnp.asarray([-1.0, 2.0]).reshape(2, 1, 1, 1)
    unit = networks.BottleneckUnit(1, inner=1)
    shapes = jax.eval_shape(lambda: unit.init(KEY, x, False))
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    np.testing.assert_array_equal(unit.apply(variables, x, False), nn.relu(x))


def test_only_training_draws_which_units_of_the_head_drop_out():
    head, x = networks.VggHead(4, units=8), jnp.ones((1, 2, 2, 3))
    variables = jax.eval_shape(lambda: head.init(KEY, x, False))

    def run(head, train):
        return jax.eval_shape(lambda variables: head.apply(variables, x, train), variables)

    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        run(head, train=True)
    assert run(head, train=False).shape == run(head.clone(dropout=0.0), train=True).shape == (1, 4)


def test_the_stem_pools_around_every_other_pixel_as_in_torchvision():
    x, kernel = jnp.arange(64.0).reshape(1, 8, 8, 1), jnp.zeros((7, 7, 1, 1)).at[3, 3].set(1)
    norm = {"scale": jnp.ones(1), "bias": jnp.zeros(1)}, {"mean": jnp.zeros(1), "var": jnp.ones(1)}
    variables = {
        "params": {"Conv_0": {"kernel": kernel}, "BatchNorm_0": norm[0]},
        "batch_stats": {"BatchNorm_0": norm[1]},
    }
    pooled = networks.ImageStem(1).apply(variables, x, False)
    np.testing.assert_allclose(pooled, x[:, ::2, ::2][:, 1::2, 1::2], rtol=1e-4)


def test_the_head_of_vgg13_draws_its_kernels_as_augmented_local_learning_does():
    head = networks.VggHead(4, units=64)
    kernel = head.init(KEY, jnp.zeros((1, 2, 2, 512)), False)["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(kernel.std(), 0.01, rtol=0.03)
    assert networks.VggHead().dropout == 0.5


def test_another_residual_network_is_refused():
    with pytest.raises(ValueError, match="resnet101, resnet152, resnext101, not 'resnet50'"):
        networks.imagenet_resnet("resnet50")
