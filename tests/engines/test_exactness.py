"""Invariant 1: under `exact`, the pipelined engine trains to the sequential engine's bits, whatever the cut."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import optax
import pytest
from support import (
    ConvBlock,
    assert_finite,
    assert_same_bits,
    clip_decay_partition,
    first,
    make_batches,
    mixed_blocks,
    random_components,
    train,
    users_emitters,
)

import al_jax as al
from al_jax import rules
from al_jax.engines import exact
from al_jax.networks import Stack


def mixed():
    return al.associated(mixed_blocks()[:4], classes=4, code=(10, 9, 8, 6), l2=1e-3)


def dense():
    losses = (al.code_contrast, al.mean_squared_error)
    return al.associated(al.networks.mlp([16, 12, 9, 5]), classes=4, code=8, losses=losses)


def backprop():
    return al.backprop(mixed_blocks()[:4], classes=4, code=6)


normed_head = functools.partial(rules.MlpSrHead, layers=1)


def momentum():
    """Messages within a device and between two, of layers with and without batch norm."""
    blocks = [Stack((ConvBlock(3),)), Stack((ConvBlock(4, stride=2, norm=True), ConvBlock(4))), ConvBlock(5)]
    return al.momentum(functools.partial(al.greedy, head=normed_head), decay=0.9)(blocks, classes=4)


def infopro():
    return al.momentum(al.infopro)([ConvBlock(3), ConvBlock(4, stride=2, norm=True)], classes=4)


def associated_momentum():
    rule = functools.partial(al.associated, code=3, bridge=rules.CodeLayer)
    return al.momentum(rule, decay=0.9)(al.networks.mlp([5, 4]), classes=4)


def far():
    """Weights that pass through two components on their way to the one that averages them."""
    rule = functools.partial(al.greedy, head=rules.PooledClassifier)
    return al.momentum(rule, depth=3, decay=0.5)(al.networks.mlp([6, 5, 5, 4, 3]), classes=4)


def chain_of_rules():
    """InfoPro, PredSim with momentum and a plain top, whose heads differ in all that they compute."""
    blocks = [ConvBlock(3), ConvBlock(4, stride=2), ConvBlock(3)]
    lowest, *_ = al.infopro(blocks, classes=4).components
    return al.compose([lowest, *al.momentum(al.predsim, decay=0.9)(blocks, classes=4).components[1:]])


def leaking():
    return al.leak(functools.partial(al.greedy, head=normed_head), 0.5)(al.networks.mlp([6, 5]), classes=4)


class Case(NamedTuple):
    network: Callable[[], al.Network]
    optimizer: Any
    meshes: Sequence[tuple[int, int]]  # stages, and devices of the data axis
    shards: int = 1
    accumulate: int = 1
    partition: tuple[int, ...] | None = None
    optimised: bool = False  # with all of XLA's optimisations, which tests leave out for time (conftest.py)
    as_users: bool = False  # and with its newer emitters


DECAYED = optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(1e-1, momentum=0.9, nesterov=True))
CLIPPED = optax.chain(optax.clip_by_global_norm(0.1), optax.adam(1e-2))
CASES = {
    "dense-clip-3-uneven": Case(dense, clip_decay_partition, [(3, 1)], partition=(1, 1, 2)),
    "mixed-clip-4": Case(mixed, CLIPPED, [(4, 1)], accumulate=3, optimised=True),
    "momentum-2": Case(momentum, DECAYED, [(2, 1)], accumulate=3, partition=(1, 2), optimised=True, as_users=True),
    "infopro-decay-2x2": Case(infopro, DECAYED, [(2, 2)], shards=2, optimised=True),
    "mixed-clip-2x2-1x4": Case(mixed, CLIPPED, [(2, 2), (1, 4)], shards=4, accumulate=2),
    "backprop-adam-1x2": Case(backprop, optax.adam(1e-2), [(1, 2)], shards=2),
    "far-decay-3": Case(far, DECAYED, [(3, 1)], accumulate=2, partition=(2, 1, 2)),
    "infopro-predsim-decay-3": Case(chain_of_rules, DECAYED, [(3, 1)]),
    "associated-momentum-decay-2": Case(associated_momentum, DECAYED, [(2, 1)]),
    "leak-decay-1x2": Case(leaking, DECAYED, [(1, 2)], shards=2),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=[pytest.mark.optimised] * case.optimised) for name, case in CASES.items()],
)
def test_pipelined_is_sequential_bit_for_bit(case, monkeypatch):
    if case.as_users:
        found = {**exact.compiler_options(True), **users_emitters()}
        monkeypatch.setattr(exact, "compiler_options", lambda wanted: found)
    # Six micro-batches do not divide by four stages, and between the two calls the pipeline stays full.
    calls = make_batches(6), make_batches(6, seed=1)
    network, options = case.network(), {"shards": case.shards, "accumulate": case.accumulate, "exact": True}
    sequential = al.sequential(network, case.optimizer, **options)
    start = random_components(network, case.optimizer, first(calls[0]))
    reference = train(sequential, start, *calls)
    assert_finite(reference)
    assert {int(part.updates) for part in reference} == {12 // case.accumulate}
    for stages, data in case.meshes:
        devices = jax.devices()[: stages * data]
        pipelined = al.pipelined(network, case.optimizer, devices, data=data, partition=case.partition, **options)
        assert_same_bits(reference, train(pipelined, start, *calls))


@pytest.mark.slow
def test_many_small_components_share_few_devices():
    """As many as the finest published partition of a residual network has, with messages between all of them."""
    rule = functools.partial(al.greedy, head=rules.PooledClassifier)
    network = al.momentum(rule, decay=0.5)(al.networks.mlp([5] * 55), classes=4)
    batches = make_batches(6)
    sequential = al.sequential(network, DECAYED, exact=True)
    pipelined = al.pipelined(network, DECAYED, jax.devices()[:4], exact=True)
    start = random_components(network, DECAYED, first(batches))
    assert_same_bits(train(sequential, start, batches), train(pipelined, start, batches))


@pytest.mark.slow
def test_sixteen_components_with_normed_heads_and_momentum_share_few_devices():
    """One device and two; the test above has four."""
    rule = al.momentum(functools.partial(al.greedy, head=normed_head), decay=0.5)
    network = rule(al.networks.mlp([3] * 16), classes=4)
    batches = make_batches(6)
    start = random_components(network, DECAYED, first(batches))
    reference = train(al.sequential(network, DECAYED, exact=True), start, batches)
    for devices in (1, 2):
        pipelined = al.pipelined(network, DECAYED, jax.devices()[:devices], exact=True)
        assert_same_bits(reference, train(pipelined, start, batches))


def test_without_exact_engines_agree_to_rounding():
    batches = make_batches(8)
    sequential, pipelined = (
        al.sequential(dense(), optax.sgd(1e-2)),
        al.pipelined(dense(), optax.sgd(1e-2), jax.devices()[:3]),
    )
    start = random_components(dense(), optax.sgd(1e-2), first(batches))
    reference, components = train(sequential, start, batches), train(pipelined, start, batches)
    chex.assert_trees_all_close(reference, components, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not exact._flag_applies(), reason="XLA knows the flag for x86 processors only")
@pytest.mark.parametrize(("flags", "warned"), [("AVX", 0), ("SSE4_2", 0), ("AVX2", 1), ("", 1)])
def test_exact_without_its_environment_warns(flags, warned, monkeypatch, recwarn):
    monkeypatch.setenv("XLA_FLAGS", f"--xla_cpu_max_isa={flags}" if flags else "")
    assert exact.compiler_options(True) == {"xla_disable_hlo_passes": "algsimp"}
    assert len([own for own in recwarn if "fused multiply-adds" in str(own.message)]) == warned
    exact.request()
    assert exact._flag_is_set()
