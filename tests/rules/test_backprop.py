"""The baseline: the inference path of Associated Learning as one component with one loss."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from support import first, make_batches, parameter_shapes, random_variables

import al_jax as al

BATCH = first(make_batches(1, size=5, shape=(2, 2, 1), classes=3))
KEY = jax.random.key(0)


def network(**options):
    return al.backprop(al.networks.mlp([5, 6], nn.relu), classes=3, code=(4, 2), **options)


@pytest.fixture(scope="module")
def variables():
    return random_variables(network(), BATCH)


def scores_by_hand(params):
    """Two blocks, the bridge's two layers, one decoder with ReLU, then linear scores."""
    bridge = params["bridge"]
    parts = (
        params["blocks_0"],
        params["blocks_1"],
        bridge["CodeLayer_0"],
        bridge["CodeLayer_1"],
        params["decoders_0"],
    )
    x = BATCH["image"].reshape(5, -1)
    for part in parts:
        x = np.maximum(x @ np.asarray(part["Dense_0"]["kernel"]) + np.asarray(part["Dense_0"]["bias"])[None], 0)
    head = params["decoders_1"]["Dense_0"]
    return x @ np.asarray(head["kernel"]) + np.asarray(head["bias"])[None]


def test_scores_and_loss_are_the_equations(variables):
    scores = scores_by_hand(variables[0]["params"])
    log_sum = np.log(np.exp(scores).sum(1))
    entropy = np.mean(log_sum - scores[np.arange(5), BATCH["label"]])
    kernels = [variables[0]["params"][f"blocks_{i}"]["Dense_0"]["kernel"] for i in range(2)]
    penalty = 0.1 / 2 * sum(np.sum(np.square(kernel)) for kernel in kernels)

    signal_up, losses, _ = network(l2=0.1).components[0].apply(variables[0], BATCH, KEY, True)
    np.testing.assert_allclose(network().predict(variables, BATCH["image"]), scores, rtol=1e-5)
    np.testing.assert_allclose([losses["loss"], losses["l2"]], [entropy, penalty], rtol=1e-5)
    assert signal_up == {}
    assert sorted(losses) == ["l2", "loss"]


def test_every_parameter_learns(variables):
    def loss(params):
        return network().components[0].apply({"params": params}, BATCH, KEY, True)[1]["loss"]

    gradients = jax.jit(jax.grad(loss))(variables[0]["params"])
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("depth", [0, 2])
def test_the_only_depth_is_one(variables, depth):
    np.testing.assert_array_equal(
        network().predict(variables, BATCH["image"], 1), network().predict(variables, BATCH["image"])
    )
    with pytest.raises(ValueError, match=f"depth is {depth}, allowed is 1"):
        network().predict(variables, BATCH["image"], depth)


def test_one_module_given_several_times_shares_no_parameters():
    same = al.backprop([nn.Dense(4), nn.Dense(4)], 3, 4, bridge=nn.Dense(4), decoder=nn.Dense(4), head=nn.Dense)
    block = nn.Dense(4)
    shared = al.backprop([block, block], 3, 4, bridge=block, decoder=block, head=nn.Dense)
    flat = {**BATCH, "image": BATCH["image"].reshape(5, 4)}
    assert parameter_shapes(same, flat) == parameter_shapes(shared, flat)
