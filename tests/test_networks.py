"""Backbones and the small parts of the rules: shapes, activations and how parameters are drawn."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import al_jax as al
from al_jax.rules import Bridge, CodeLayer

KEY = jax.random.key(0)


def test_an_mlp_is_one_dense_block_a_width():
    blocks = al.networks.mlp([7, 5], nn.tanh)
    assert [block.width for block in blocks] == [7, 5]
    assert [block.activation for block in blocks] == [nn.tanh, nn.tanh]


@pytest.mark.parametrize("module", [*al.networks.mlp([4]), Bridge(4)])
def test_blocks_and_bridges_flatten_what_they_get(module):
    output, _ = jax.eval_shape(lambda: module.init_with_output(KEY, jnp.zeros((3, 2, 5, 1))))
    assert output.shape == (3, 4)


def constant(module, value):
    """The output where every pre-activation is `value`."""
    variables = module.init(KEY, jnp.zeros((1, 1)))
    variables = jax.tree.map(lambda leaf: jnp.full_like(leaf, value if leaf.ndim == 1 else 0), variables)
    return module.apply(variables, jnp.ones((1, 1)))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (al.networks.mlp([1])[0], np.expm1(-2)),
        (al.networks.mlp([1], nn.relu)[0], 0),
        (CodeLayer(1), 1 / (1 + np.exp(2))),
        (Bridge(1), 1 / (1 + np.exp(2))),
        (Bridge(1, activation=nn.tanh), np.tanh(-2)),
    ],
    ids=["elu", "relu", "code", "bridge", "bridge-tanh"],
)
def test_activations(module, expected):
    np.testing.assert_allclose(constant(module, -2), [[expected]], rtol=1e-5)


@pytest.mark.parametrize("module", [*al.networks.mlp([200]), CodeLayer(200), Bridge(100)])
def test_kernels_are_he_normal_and_biases_zero(module):
    variables = jax.jit(module.init)(KEY, jnp.zeros((1, 400)))
    for leaf in map(np.asarray, jax.tree.leaves(variables)):
        if leaf.ndim == 1:
            assert not leaf.any()
            continue
        deviation = np.sqrt(2 / leaf.shape[0])
        np.testing.assert_allclose(leaf.std(), deviation, rtol=0.01)
        np.testing.assert_allclose(leaf.mean(), 0, atol=0.01 * deviation)
        assert np.abs(leaf).max() < 2 * deviation / 0.879  # truncated at two deviations, then rescaled


def test_layers_compute_in_their_type_and_keep_float32_parameters():
    for module in (*al.networks.mlp([4], dtype=jnp.bfloat16), Bridge(4, dtype=jnp.bfloat16)):
        output, variables = jax.eval_shape(lambda module=module: module.init_with_output(KEY, jnp.zeros((3, 5))))
        assert output.dtype == jnp.bfloat16
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
