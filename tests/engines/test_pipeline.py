"""What a trainer promises on any number of devices, for a chain of a user's own with unlike components.

All trainers are compiled once and share their state's start, so that tests only step.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import compilations
from support import Local, assert_finite, assert_same_bits, make_batches, random_components, top_features, train

import al_jax as al
from al_jax import schedule

COMPONENTS, NUMBER = 4, 6  # six micro-batches do not divide by four stages


def brightest_pixel(seed):
    """Micro-batches whose label is the index of the brightest of four pixels."""
    batches = make_batches(NUMBER, size=4, shape=(2, 2, 1), seed=seed)
    return {**batches, "label": batches["image"].reshape(NUMBER, 4, 4).argmax(-1).astype(np.int32)}


CALLS = brightest_pixel(0), brightest_pixel(1)
BATCH = jax.tree.map(lambda x: x[0], CALLS[0])
IMAGES = CALLS[1]["image"][0]


class Nesting(nn.Module):
    """Hands up a nested tree with small integers, booleans and half precision in it."""

    @nn.compact
    def __call__(self, signal, train):
        up, losses = Local(4, norm=True, penalty=0.1)(signal, train)
        rest = {"label": up["label"].astype(jnp.uint8), "odd": up["label"] % 2 == 1}
        return (up["image"].astype(jnp.bfloat16), [rest]), losses


class Unnesting(nn.Module):
    """Reads that tree."""

    @nn.compact
    def __call__(self, signal, train):
        features, [rest] = signal
        features = features.astype(jnp.float32) * jnp.where(rest["odd"], 1.0, 0.5)[:, None]
        up, losses = Local(3)({"image": features, "label": rest["label"].astype(jnp.int32)}, train)
        return up, {"another name": losses["local"]}


def optimizer(index):
    return optax.sgd(0.05 / (index + 2), momentum=0.9)


@pytest.fixture(scope="module")
def network():
    modules = Local(5, dropout=0.2), Nesting(), Unnesting(), Local(2)
    components = [al.component(module) for module in modules]
    return al.compose(components, predict=top_features(components))


@pytest.fixture(scope="module")
def trainers(network):
    """One trainer for each number of stages; 1 is the sequential engine."""
    pipelines = {p: al.pipelined(network, optimizer, jax.devices()[:p], exact=True) for p in (2, 4)}
    return {1: al.sequential(network, optimizer, exact=True), **pipelines}


@pytest.fixture(scope="module")
def start(network):
    return random_components(network, optimizer, BATCH)


@pytest.fixture(scope="module")
def reference(trainers, start):
    """Components and metrics after each call, on the sequential engine."""
    state, after = trainers[1].place(start), []
    for batches in CALLS:
        state, metrics = trainers[1].step(state, batches)
        after.append((trainers[1].components(state), metrics))
    return after


def lags(stages):
    """By how many updates each component is behind the first."""
    return np.arange(COMPONENTS) // (COMPONENTS // stages)


stages = pytest.mark.parametrize("stages", [1, 2, 4])
pipelines = pytest.mark.parametrize("stages", [2, 4])


@pipelines
def test_a_users_chain_trains_to_the_same_bits(trainers, start, reference, stages):
    components = train(trainers[stages], start, *CALLS)
    assert_same_bits(components, reference[-1][0])
    assert_finite(components)
    assert [int(part.updates) for part in components] == [2 * NUMBER] * COMPONENTS


def test_a_users_chain_learns(trainers, start, reference):
    state = trainers[2].place(start)
    for _ in range(80):
        state, metrics = trainers[2].step(state, CALLS[0])
    for before, after in zip(reference[0][1].losses, metrics.losses, strict=True):
        assert total(after) < 0.7 * total(before)


def total(losses):
    """The objective, as a mean over a call's updates."""
    return sum(np.asarray(loss).mean() for loss in losses.values())


def test_lower_components_train_as_if_there_were_no_upper_ones(network, start, reference):
    lower = al.sequential(al.compose(network.components[:2]), optimizer, exact=True)
    assert_same_bits(train(lower, start[:2], *CALLS), reference[-1][0][:2])


# Metrics.


@pipelines
def test_the_log_of_ticks_is_the_schedule(trainers, start, stages):
    state, log = trainers[stages].place(start), []
    for batches in CALLS:
        state, metrics = trainers[stages].step(state, batches)
        log.append(np.asarray(metrics.updates))
    state, metrics = trainers[stages].step(state, CALLS[0], valid=0)  # drains
    done = schedule.observed(np.concatenate([*log, metrics.updates], axis=1), [COMPONENTS // stages] * stages)
    planned = schedule.associated(COMPONENTS, stages, micro_batches=2 * NUMBER)
    assert sorted(done) == sorted(planned)


@stages
def test_updates_tell_how_far_each_component_is(trainers, start, stages):
    state = trainers[stages].place(start)
    for call, batches in enumerate(CALLS):
        state, metrics = trainers[stages].step(state, batches)
        expected = np.arange(NUMBER)[None] + call * NUMBER - lags(stages)[:, None]
        np.testing.assert_array_equal(metrics.updates, np.maximum(expected, -1))


@pipelines
def test_losses_are_the_sequential_ones_update_by_update(trainers, start, reference, stages):
    state = trainers[stages].place(start)
    by_update = [
        {name: np.concatenate([metrics.losses[k][name] for _, metrics in reference]) for name in losses}
        for k, losses in enumerate(reference[0][1].losses)
    ]
    assert [sorted(losses) for losses in by_update] == [
        ["local"],
        ["local", "penalty"],
        ["another name"],
        ["local"],
    ]
    for batches in CALLS:
        state, metrics = trainers[stages].step(state, batches)
        for updates, losses, expected in zip(metrics.updates, metrics.losses, by_update, strict=True):
            assert losses.keys() == expected.keys()
            for name, loss in losses.items():
                wanted = np.where(updates < 0, np.nan, expected[name][updates])
                np.testing.assert_array_equal(loss, wanted.astype(np.float32))


# Flushing and short calls.


@pipelines
def test_a_flush_between_two_calls_changes_nothing(trainers, start, reference, stages):
    state = trainers[stages].place(start)
    for batches in CALLS:
        state, _ = trainers[stages].step(state, batches)
        state = trainers[stages].flush(trainers[stages].flush(state))
    assert_same_bits(trainers[stages].components(state), reference[-1][0])


@pipelines
def test_after_a_flush_every_component_has_done_the_same_updates(trainers, start, stages):
    state, _ = trainers[stages].step(trainers[stages].place(start), CALLS[0])
    _, metrics = trainers[stages].step(trainers[stages].flush(state), CALLS[1])
    np.testing.assert_array_equal(metrics.updates[:, -1], 2 * NUMBER - 1 - lags(stages))
    np.testing.assert_array_equal(np.sum(metrics.updates < 0, axis=1), lags(stages))


@stages
def test_what_is_not_valid_is_not_seen(trainers, start, stages):
    poisoned = {**CALLS[0], "image": CALLS[0]["image"].copy()}
    poisoned["image"][4:] = np.nan
    state, metrics = trainers[stages].step(trainers[stages].place(start), poisoned, valid=4)
    state, _ = trainers[stages].step(state, CALLS[1], valid=0)
    state, _ = trainers[stages].step(state, CALLS[1], valid=2)
    assert_same_bits(trainers[stages].components(state), train(trainers[1], start, *in_pairs(CALLS[0], CALLS[1])))
    done = np.arange(NUMBER)[None] - lags(stages)[:, None]
    np.testing.assert_array_equal(metrics.updates, np.where((done >= 0) & (done < 4), done, -1))
    for updates, losses in zip(metrics.updates, metrics.losses, strict=True):
        for loss in losses.values():
            np.testing.assert_array_equal(np.isnan(loss), updates < 0)


def in_pairs(one, two):
    """Four micro-batches of one call and two of another, two in each call."""
    cuts = (one, slice(2)), (one, slice(2, 4)), (two, slice(2))
    return [jax.tree.map(lambda x, cut=cut: x[cut], batches) for batches, cut in cuts]


# Moving and looking.


def test_training_moves_between_engines_without_changing_a_bit(trainers, start, reference):
    components = start
    for call, path in zip(CALLS, [(1, 4, 2), (4, 2, 1)], strict=True):
        for stages, cut in zip(path, in_thirds(call), strict=True):
            state, _ = trainers[stages].step(trainers[stages].place(components), *cut)
            components = trainers[stages].components(state)
    assert_same_bits(components, reference[-1][0])


def in_thirds(batches):
    """The arguments of three steps that see two micro-batches each, in arrays of one length."""
    return [(jax.tree.map(lambda x, at=at: np.roll(x, -at, axis=0), batches), 2) for at in (0, 2, 4)]


@stages
def test_placing_and_taking_components_is_the_identity(trainers, start, stages):
    assert_same_bits(trainers[stages].components(trainers[stages].place(start)), start)


@stages
def test_components_can_be_taken_in_flight(trainers, start, reference, stages):
    state, _ = trainers[stages].step(trainers[stages].place(start), CALLS[0])
    for _ in range(2):
        assert_same_bits(trainers[stages].components(state), reference[0][0])
    state, metrics = trainers[stages].step(state, CALLS[1])
    np.testing.assert_array_equal(metrics.updates[:, 0], NUMBER - lags(stages))  # nothing was flushed
    assert_same_bits(trainers[stages].components(state), reference[1][0])


@stages
def test_components_stay_what_they_are_while_training_goes_on(trainers, start, reference, stages):
    state = trainers[stages].place(start)
    state, _ = trainers[stages].step(state, CALLS[0])
    taken = trainers[stages].components(state)
    trainers[stages].step(state, CALLS[1])
    assert_same_bits(taken, reference[0][0])
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(start))  # placed often, never consumed


@stages
def test_prediction_in_flight_is_that_of_the_flushed_components(network, trainers, start, reference, stages):
    state, _ = trainers[stages].step(trainers[stages].place(start), CALLS[0])
    variables = [part.variables for part in reference[0][0]]
    for depth in (None, 1):
        expected = jax.jit(network.predict, static_argnums=2)(variables, IMAGES, depth)
        np.testing.assert_array_equal(trainers[stages].predict(state, IMAGES, depth=depth), expected)
    assert_same_bits(train_on(trainers[stages], state, CALLS[1]), reference[1][0])


def train_on(trainer, state, batches):
    return trainer.components(trainer.step(state, batches)[0])


# Compilation.


def use(trainer, start):
    """Everything that a training loop does."""
    state = trainer.place(start)
    for valid in (None, NUMBER, 2, 0):
        state, _ = trainer.step(state, CALLS[1], valid)
    trainer.components(state)
    state, _ = trainer.step(trainer.flush(state), CALLS[0])
    trainer.predict(state, IMAGES)
    trainer.step(trainer.place(trainer.components(state)), CALLS[0])


@stages
def test_only_the_first_use_compiles(trainers, start, stages):
    use(trainers[stages], start)
    with compilations() as names:
        use(trainers[stages], start)
    assert names == []


@stages
def test_the_second_step_does_not_compile(trainers, start, stages):
    state, _ = trainers[stages].step(trainers[stages].place(start), CALLS[0])
    with compilations() as names:
        trainers[stages].step(state, CALLS[1])
    assert names == []


def test_a_compilation_would_be_seen():
    with compilations() as names:
        jax.jit(lambda x: x + 1)(np.float32(1))
    assert names
