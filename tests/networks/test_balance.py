"""Cuts balanced by memory: no partition is better, and what counts is what a gradient keeps."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import ConvBlock

import al_jax as al
from al_jax.networks.balance import kept_bytes, min_max_partition


def partitions(number, parts):
    for ends in itertools.combinations(range(1, number), parts - 1):
        yield np.diff([0, *ends, number])


@pytest.mark.parametrize("seed", range(5))
def test_no_partition_has_a_smaller_largest_part(seed):
    costs = np.random.default_rng(seed).integers(1, 20, 8).tolist()
    for parts in range(1, 9):
        sizes = min_max_partition(costs, parts)
        assert sum(sizes) == 8
        assert min(sizes) >= 1

        def largest(sizes):
            ends = np.cumsum(sizes)
            return max(sum(costs[end - size : end]) for size, end in zip(sizes, ends, strict=True))

        assert largest(sizes) == min(largest(other) for other in partitions(8, parts))


def test_what_a_gradient_keeps_of_an_example_is_the_layers_input():
    layers = [al.networks.DenseBlock(units, lambda x: x) for units in (5, 7)]
    assert kept_bytes(layers, (2, 3, 1)) == [4 * 6, 4 * 5]


def test_balanced_cuts_take_every_layer():
    layers = al.networks.resnet(8, 1, standard=True)[0].layers
    assert sum(al.networks.balanced_cuts(layers, (8, 8, 3), 3)) == len(layers) == 4
    with pytest.raises(ValueError, match="4 layers cannot be cut into 5 blocks"):
        al.networks.balanced_cuts(layers, (8, 8, 3), 5)
    assert al.networks.balanced_cuts([ConvBlock(2), al.networks.VggHead(3)], (8, 8, 3), 2) == (1, 1)  # with dropout


def test_rematerialised_blocks_compute_the_same():
    plain = al.networks.Stack((ConvBlock(3), ConvBlock(4, norm=True)))
    again, layer = al.networks.rematerialised([plain, ConvBlock(3)])
    assert layer == ConvBlock(3)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 1)), jnp.float32)
    variables = plain.init(jax.random.key(0), x, True)

    def loss(params, block):
        y, state = block.apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
        return jnp.sum(jnp.square(y)), state

    value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    left, right = (value_and_grad(variables["params"], block) for block in (plain, again))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), left, right)
