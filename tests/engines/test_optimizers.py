"""Optimizers that ask for more than gradients, or keep more than numbers, train on both engines alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import Local, assert_finite, assert_same_bits, first, make_batches, train

import al_jax as al

BATCHES = make_batches(4, size=6, shape=(2, 2, 1))
OPTIMIZERS = {
    "multi-steps": optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2),
    "noise from a typed key": optax.noisy_sgd(0.1, key=jax.random.key(3)),
    "polyak": optax.polyak_sgd(),
}


@pytest.fixture(scope="module")
def network():
    return al.compose([al.component(Local(3)), al.component(Local(2))])


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_any_optimizer_trains_to_the_same_bits_on_both_engines(network, optimizer):
    sequential = al.sequential(network, optimizer, exact=True)
    start = sequential.components(sequential.init(jax.random.key(0), first(BATCHES)))
    pipelined = al.pipelined(network, optimizer, jax.devices()[:2], exact=True)
    components = train(sequential, start, BATCHES)
    assert_finite(components)
    assert not np.array_equal(start[0].params["Dense_0"]["kernel"], components[0].params["Dense_0"]["kernel"])
    assert_same_bits(train(pipelined, start, BATCHES), components)


def test_a_learning_rate_falls_on_the_plateau_of_each_components_own_objective(network):
    plateau = optax.chain(optax.sgd(1e-9), optax.contrib.reduce_on_plateau(patience=1, factor=0.5))
    trainer = al.sequential(network, plateau)
    start = trainer.components(trainer.init(jax.random.key(0), first(BATCHES)))
    same = jax.tree.map(lambda x: np.repeat(x[:1], 4, axis=0), BATCHES)
    assert [float(part.opt_state[1].scale) for part in train(trainer, start, same)] == [0.125, 0.125]


def seen():
    """An optimizer that moves nothing and keeps what it was told."""

    def update(updates, state, params=None, *, value, grad, **extra):
        return jax.tree.map(jnp.zeros_like, updates), (value, grad)

    return optax.GradientTransformationExtraArgs(lambda params: (jnp.float32(0), params), update)


@pytest.mark.parametrize(("shards", "accumulate"), [(1, 1), (2, 1), (1, 2)])
def test_an_optimizer_is_told_the_objective_and_its_gradient_of_the_whole_update(network, shards, accumulate):
    keep = functools.partial(al.sequential, network, seen())
    whole = {name: x[:2].reshape(1, 12, *x.shape[2:]) for name, x in BATCHES.items()}
    start = keep().components(keep().init(jax.random.key(0), first(whole)))
    told = train(keep(), start, whole)
    cut = {name: x[:2] for name, x in BATCHES.items()} if accumulate == 2 else whole
    again = train(keep(shards=shards, accumulate=accumulate), start, cut)
    for one, other in zip(told, again, strict=True):
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), one.opt_state, other.opt_state
        )


def counting():
    """An optimizer of a user's own, whose state begins as Python's numbers and weakly typed ones."""

    def update(updates, state, params=None):
        moved = jax.tree.map(lambda gradient: -state["rate"] * gradient, updates)
        return moved, {"count": state["count"] + 1, "rate": state["rate"] * jnp.float32(0.5)}

    return optax.GradientTransformation(lambda params: {"count": 0, "rate": jnp.asarray(0.1)}, update)


@pytest.mark.parametrize("machine", [False, True], ids=("network", "machine"))
def test_an_optimizers_state_may_begin_as_pythons_numbers_and_no_step_but_the_first_traces(network, machine):
    traced = []

    def prepare(image, key, train):
        traced.append(train)
        return image

    layers = [al.machines.from_linen(al.machines.Layer(width), counting()) for width in (3, 4)]
    of_machine = functools.partial(al.machines.trainer, al.machines.chain(*layers))
    trainer = (of_machine if machine else functools.partial(al.sequential, network, counting()))(prepare=prepare)
    state, _ = trainer.step(trainer.init(jax.random.key(0), first(BATCHES)), BATCHES)
    before = len(traced)
    state, _ = trainer.step(state, BATCHES)
    assert len(traced) == before
    assert [int(part.opt_state["count"]) for part in trainer.components(state)] == [8, 8]
