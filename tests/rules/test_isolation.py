"""Invariant 2: no component's loss depends on another's parameters, whatever the rule or the user does."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import ConvBlock, Local, first, make_batches, random_variables

import al_jax as al
from al_jax import rules

BATCH = first(make_batches(1, size=4, shape=(4, 4, 1)))


class Leaking(nn.Module):
    """Puts the signal from below into its loss and hands it up unchanged, whole and within a nested tree."""

    @nn.compact
    def __call__(self, signal, train):
        below = signal["image"].reshape(len(signal["label"]), -1)
        features = nn.Dense(3)(below)
        losses = {"own": jnp.mean(jnp.square(features)), "below": jnp.mean(jnp.square(below))}
        return {"image": features + below[:, :3], "label": signal["label"], "all": (signal,)}, losses


def associated():
    return al.associated([ConvBlock(2, norm=True), *al.networks.mlp([5, 4])], classes=4, code=(3, 4, 2), l2=1e-2)


def greedy():
    return al.greedy(blocks(), classes=4)


def predsim():
    return al.predsim(blocks(), classes=4)


def infopro():
    return al.momentum(functools.partial(al.infopro, contrast=True))(blocks(), classes=4)


def momentum():
    return al.momentum(functools.partial(al.greedy, head=rules.PooledClassifier))(dense(), classes=4)


def associated_momentum():
    return al.momentum(functools.partial(al.associated, code=3))(dense(), classes=4)


def dense():
    return al.networks.mlp([3, 4, 5])


def blocks():
    return [ConvBlock(2, norm=True), ConvBlock(3), *al.networks.mlp([4])]


def local():
    return al.compose(map(al.component, [Local(5), Local(4, norm=True, penalty=0.1), Local(3)]))


def leaking():
    return al.compose([al.component(Leaking()) for _ in range(3)])


def leaking_without_the_stop():
    """The same modules made components by hand, so that what the test looks for is there."""

    def unstopped(part):
        def apply(variables, signal, key, train):
            return *Leaking().apply(variables, signal, train), {}

        return part._replace(apply=apply)

    return al.compose(map(unstopped, leaking().components))


def dependence(network):
    """Entry (j, i): whether component j's objective has a derivative by component i's parameters."""
    variables = random_variables(network, BATCH)

    def objectives(all_params):
        signal, totals = BATCH, []
        for part, own, params in zip(network.components, variables, all_params, strict=True):
            signal, losses, _ = part.apply({**own, "params": params}, signal, jax.random.key(0), True)
            totals.append(sum(losses.values()))
        return totals

    jacobian = jax.jit(jax.jacrev(objectives))([own["params"] for own in variables])
    return [[any(np.any(leaf) for leaf in jax.tree.leaves(by)) for by in row] for row in jacobian]


NETWORKS = [associated, greedy, predsim, infopro, momentum, associated_momentum, local, leaking]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_loss_depends_on_its_own_components_parameters_alone(network):
    assert dependence(network()) == np.eye(3, dtype=bool).tolist()


def test_the_jacobian_would_show_a_leak():
    assert dependence(leaking_without_the_stop()) == np.tril(np.ones((3, 3), bool)).tolist()
