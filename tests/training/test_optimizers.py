"""The optimizers of a configuration."""

import jax
import numpy as np
import optax
import pytest

from al_jax.training.config import default_config
from al_jax.training.optimizers import build_optimizer, build_schedule, scale_by_adam_hat, steps_at, steps_in_run


def first_updates(optimizer, gradients):
    state, found = optimizer.init(gradients[0]), []
    with jax.numpy_dtype_promotion("standard"):  # optax mixes int32 counts with Python floats
        update = jax.jit(optimizer.update)
        for gradient in gradients:
            step, state = update(gradient, state)
            found.append(np.asarray(step))
    return np.stack(found)


def test_epsilon_hat_is_added_before_the_correction_of_bias():
    gradients = np.random.default_rng(0).normal(0, 1e-3, (20, 7)).astype(np.float32)
    m = v = np.zeros(7)
    expected = []
    for t, gradient in enumerate(np.float64(gradients), 1):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        expected.append(np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-4))
    np.testing.assert_allclose(first_updates(scale_by_adam_hat(epsilon=1e-4), gradients), expected, rtol=1e-3)
    # With no epsilon to speak of, it is the Adam of optax.
    own, theirs = scale_by_adam_hat(epsilon=1e-30), optax.scale_by_adam(eps=1e-30)
    np.testing.assert_allclose(first_updates(own, gradients), first_updates(theirs, gradients), rtol=1e-3)


@pytest.mark.parametrize("hat", [False, True])
def test_the_authors_steps(hat):
    config = default_config(schedule="steps", learning_rate=1.0, epsilon_hat=hat, epsilon=1e-12)
    moves = -first_updates(build_optimizer(config, updates=100), np.ones((100, 1), np.float32))[:, 0]
    for updates, rate in (((0, 39), 1), ((41, 59), 0.1), ((61, 79), 0.01), ((81, 89), 1e-3), ((91, 99), 5e-4)):
        np.testing.assert_allclose(moves[list(updates)], rate, rtol=1e-2)


@pytest.mark.parametrize(
    ("fields", "steps"),
    [({}, 50), ({"alternate": True}, 20), ({"alternate": True, "epochs": 1}, 10), ({"upper_steps": 3}, 150)],
)
def test_a_schedule_is_as_long_as_there_are_steps(fields, steps):
    """Of alternate epochs the inverses have the first and the last of an odd number."""
    assert steps_in_run(default_config(**{"epochs": 5, **fields}), updates_per_epoch=10) == steps


def test_a_cosine_by_epoch_warms_up_as_infopro_does():
    config = default_config(schedule="epoch_cosine", learning_rate=0.8, epochs=400, warmup_epochs=10)
    rate = build_schedule(config, updates=400 * 48)
    first, last = [float(rate(48 * (epoch - 1))) for epoch in (1, 2, 10, 11, 400)], float(rate(400 * 48 - 1))
    np.testing.assert_allclose(first, [0.010, 0.089, 0.720, 0.7985, 0.0], atol=5e-4)
    assert last == first[-1] == 0.0
    assert rate(47) == rate(0) != rate(48)


def test_a_cosine_by_epoch_counts_the_epochs_in_which_layers_learn():
    config = default_config(schedule="epoch_cosine", learning_rate=1.0, epochs=10, alternate=True)
    rate = build_schedule(config, steps_in_run(config, updates_per_epoch=50))
    levels = [float(rate(step)) for step in range(250)]
    assert levels == [level for level in levels[::50] for _ in range(50)]
    assert sorted(set(levels), reverse=True) == levels[::50]
    assert levels[-1] == 0


def test_sgd_decays_weights_with_its_gradient_and_adam_beside_it():
    weights, gradient = np.full(3, 2.0, np.float32), np.full(3, 0.5, np.float32)
    moved = {}
    for name in ("sgd", "adam"):
        config = default_config(optimizer=name, schedule="constant", learning_rate=0.1, weight_decay=0.25)
        optimizer = build_optimizer(config, updates=10)
        with jax.numpy_dtype_promotion("standard"):
            moved[name] = optimizer.update(gradient, optimizer.init(weights), weights)[0]
    # Nesterov's first step is (1 + momentum) times the gradient; Adam's is 1 whatever the gradient.
    np.testing.assert_allclose(moved["sgd"], -0.1 * 1.9 * (0.5 + 0.25 * 2), rtol=1e-5)
    np.testing.assert_allclose(moved["adam"], -0.1 * (1 + 0.25 * 2), rtol=1e-5)


def test_steps_that_fall_on_one_update_are_taken_together():
    assert steps_at(2) == {0: 0.1, 1: pytest.approx(0.1 * 0.1 * 0.5)}
