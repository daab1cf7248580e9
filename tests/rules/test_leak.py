"""A leak puts a share of the gradient from above beside a component's own."""

import functools
import itertools

import jax
import numpy as np
import pytest
from support import ConvBlock, first, make_batches, parameter_shapes, random_variables

import al_jax as al
from al_jax import rules
from al_jax.data import Split
from al_jax.training.evaluation import make_evaluate

BATCH = first(make_batches(1, size=4, shape=(4, 4, 1), classes=3))
KEY = jax.random.key(0)
greedy = functools.partial(al.greedy, head=rules.PooledClassifier)


def blocks():
    return [ConvBlock(2), ConvBlock(3, norm=True), *al.networks.mlp([4])]


@functools.cache
def gradients(alpha):
    network = al.leak(greedy, alpha)(blocks(), 3)
    (variables,) = random_variables(network, BATCH)

    def loss(params):
        return sum(network.components[0].apply({**variables, "params": params}, BATCH, KEY, True)[1].values())

    return jax.jit(jax.grad(loss))(variables["params"])


def local_gradients():
    """Of every component's own loss alone."""
    network = greedy(blocks(), 3)
    (whole,) = random_variables(al.leak(greedy, 0.0)(blocks(), 3), BATCH)
    signal, found = BATCH, {}
    for index, part in enumerate(network.components):
        own = {name: tree.get(f"parts_{index}", {}) for name, tree in whole.items()}

        def loss(params, part=part, own=own, signal=signal):
            return sum(part.apply({**own, "params": params}, signal, KEY, True)[1].values())

        found[f"parts_{index}"] = jax.jit(jax.grad(loss))(own["params"])
        signal, _, _ = part.apply(own, signal, KEY, True)
    return found


def test_without_a_leak_the_gradients_are_the_local_rules():
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradients(0.0), local_gradients())


@functools.cache
def end_to_end_gradients(index):
    """Of one component's loss by the parameters of all components up to it: nothing stops the gradient."""
    network = greedy(blocks(), 3)
    (whole,) = random_variables(al.leak(greedy, 0.0)(blocks(), 3), BATCH)
    names = [f"parts_{below}" for below in range(index + 1)]

    def loss(params):
        signal, losses = BATCH, {}
        for part, name in zip(network.components, names, strict=False):
            own = {kind: tree[name] for kind, tree in whole.items() if name in tree} | {"params": params[name]}
            (signal, losses), _ = part.module.apply(own, signal, True, mutable=["batch_stats"])
        return sum(losses.values())

    return jax.jit(jax.grad(loss))({name: whole["params"][name] for name in names})


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_each_loss_reaches_a_component_by_alpha_to_the_number_of_cuts_between_them(alpha):
    """So 0 gives the component's own loss, 1 the sum of all losses above it, end to end."""
    found = gradients(alpha)
    assert sorted(found) == ["parts_0", "parts_1", "parts_2"]
    for below in range(3):
        name = f"parts_{below}"
        reaching = [
            jax.tree.map(lambda g, k=above - below: alpha**k * g, end_to_end_gradients(above)[name])
            for above in range(below, 3)
        ]
        expected = jax.tree.map(lambda *shares: sum(shares), *reaching)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found[name], expected)
    from_above = jax.tree.leaves(end_to_end_gradients(2)["parts_0"])
    assert max(np.abs(leaf).max() for leaf in from_above) > 1e-3  # there is something to let through


def test_predictions_and_effective_parameters_are_the_rules():
    network, local = al.leak(greedy, 0.5)(blocks(), 3), greedy(blocks(), 3)
    (variables,) = random_variables(network, BATCH)
    apart = [{name: tree[f"parts_{i}"] for name, tree in variables.items() if f"parts_{i}" in tree} for i in range(3)]
    for depth in (1, 2, 3):
        expected = local.predict(apart, BATCH["image"], depth)
        np.testing.assert_array_equal(network.predict([variables], BATCH["image"], depth), expected)
    every = local.anytime(apart, BATCH["image"])
    np.testing.assert_array_equal(network.anytime([variables], BATCH["image"]), every)
    evaluated = make_evaluate(network)([variables], Split(BATCH["image"], BATCH["label"]))
    hits = network.predict([variables], BATCH["image"]).argmax(1) == BATCH["label"]
    assert len(evaluated.by_depth) == 3
    assert evaluated.full == hits.mean()
    assert network.effective == ({f"parts_{i}": entry for i, entry in enumerate(local.effective)},)


def test_under_associated_learning_features_leak_and_codes_do_not():
    found = {}
    for alpha in (0.0, 1.0):
        network = al.leak(lambda blocks, classes: al.associated(blocks, classes, (4, 5, 6)), alpha)(blocks(), 3)
        (variables,) = random_variables(network, BATCH)

        def loss(params, network=network, variables=variables):
            return sum(network.components[0].apply({**variables, "params": params}, BATCH, KEY, True)[1].values())

        found[alpha] = jax.jit(jax.grad(loss))(variables["params"])
    for name, part in itertools.product(("parts_0", "parts_1", "parts_2"), "fbgh"):
        local, leaking = (jax.tree.leaves(found[alpha][name][part]) for alpha in (0.0, 1.0))
        apart = max(np.abs(a - b).max() for a, b in zip(local, leaking, strict=True))
        largest = max(np.abs(leaf).max() for leaf in local)
        assert (apart > 0.01 * largest) == (part == "f" and name != "parts_2"), (name, part, apart, largest)


def test_associated_learning_keeps_its_rates():
    network = al.leak(lambda blocks, classes: al.associated(blocks, classes, 4), 0.5)(blocks(), 3)
    assert network.components[0].rates["parts_1 autoencoder"] == 2.0


@pytest.mark.parametrize(
    ("rule", "alpha", "message"),
    [
        (al.greedy, 2, "alpha is 2: it must be from 0, local, to 1"),
        (al.greedy, "x", "alpha is 'x': it must be from 0, local, to 1"),
        (None, 0.5, "al.leak takes a rule, not None"),
    ],
)
def test_it_takes_a_rule_and_a_share_from_0_to_1(rule, alpha, message):
    with pytest.raises(ValueError, match=message):
        al.leak(rule, alpha)


def test_one_block_given_twice_shares_no_parameters():
    block = al.networks.DenseBlock(4)
    network = al.leak(lambda blocks, classes: al.associated(blocks, classes, 4), 0.5)([block, block], 3)
    (params,) = parameter_shapes(network, BATCH)
    assert [sorted(params[name]) for name in ("parts_0", "parts_1")] == [["b", "f", "g", "h"]] * 2


def test_what_is_frozen_does_not_leak():
    with pytest.raises(ValueError, match="none of them frozen"):
        al.leak(lambda blocks, classes: al.freeze(al.greedy(blocks, classes), [0]), 0.5)(blocks(), 3)
