"""Inverses carry targets down."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import machines

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (6, 5))
CODES = (jax.random.uniform(jax.random.key(2), (6, 5)) < 0.5).astype(jnp.float32)
ELEMENTWISE = {
    "sigmoid": (machines.reversible_sigmoid(), X),
    "tanh": (machines.reversible_tanh(), X),
    "leaky_relu": (machines.reversible_leaky_relu(0.2), X),
    "batch_norm": (machines.reversible_batch_norm(), X),
    "bool_to_sign": (machines.bool_to_sign(), CODES),
    "sign_to_bool": (machines.sign_to_bool(), 2 * CODES - 1),
    "sequence": (
        machines.chain(
            machines.reversible_batch_norm(), machines.reversible_leaky_relu(0.2), machines.reversible_sigmoid()
        ),
        X,
    ),
}


def turn(machine, x, feedback_of, train=True):
    state = machine.init(KEY, x)

    @jax.jit
    def run(state, x):
        y, residuals = machine.forward(state.params, state.fixed, x, KEY, train)
        context = machines.Context(None, None, jnp.int32(0), KEY)
        gradients, below, _ = machine.backward(state.params, state.fixed, residuals, feedback_of(y), context)
        return y, below, machine.update(state, residuals, gradients, context)

    return run(state, x)


def toward(target):
    return lambda y: machines.Feedback.toward(y, target)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_inverse_undoes_the_layer(name):
    machine, x = ELEMENTWISE[name]
    y, below, _ = turn(machine, x, lambda y: machines.Feedback.toward(y, y))
    np.testing.assert_allclose(below.target, x, atol=1e-5)
    np.testing.assert_allclose(below.delta, 0, atol=1e-5)
    # and what is handed down, sent up again, is the target
    other = jnp.flip(y, 0)
    state = machine.init(KEY, x)
    _, below, _ = turn(machine, x, toward(other))
    if name not in ("batch_norm", "sequence"):  # the batch of the targets has other statistics
        again = machine.forward(state.params, state.fixed, below.target, KEY, True)[0]
        np.testing.assert_allclose(again, other, atol=1e-5)
    np.testing.assert_allclose(below.delta, x - below.target, atol=1e-5)


def test_values():
    outputs = {name: turn(machine, x, toward(x))[0] for name, (machine, x) in ELEMENTWISE.items()}
    np.testing.assert_allclose(outputs["sigmoid"], 1 / (1 + np.exp(-X)), rtol=1e-5)
    np.testing.assert_allclose(outputs["leaky_relu"], np.where(X < 0, 0.2 * X, X))
    np.testing.assert_allclose(outputs["batch_norm"], (X - X.mean(0)[None]) / np.sqrt(X.var(0) + 1e-5)[None], atol=1e-5)
    np.testing.assert_array_equal(outputs["bool_to_sign"], 2 * CODES - 1)
    np.testing.assert_array_equal(outputs["sign_to_bool"], CODES)


def test_valid_codes_stay_valid():
    flipped = 1 - CODES
    for machine, x, target, expected in (
        (machines.bool_to_sign(), CODES, 2 * flipped - 1, flipped),
        (machines.bool_to_sign(), CODES > 0, 2 * flipped - 1, flipped),
        (machines.sign_to_bool(), 2 * CODES - 1, flipped, 2 * flipped - 1),
        (machines.reversible(jnp.negative, jnp.negative), CODES, -flipped, flipped),
    ):
        np.testing.assert_array_equal(turn(machine, x, toward(target))[1].target, expected)


def test_targets_out_of_range_are_clipped():
    for machine in (machines.reversible_sigmoid(1e-3), machines.reversible_tanh(1e-3)):
        below = turn(machine, X, toward(jnp.full((6, 5), 7.0)))[1]
        assert np.isfinite(below.target).all()
        assert (below.target > 3).all()
    np.testing.assert_allclose(below.target, np.arctanh(0.999), rtol=1e-3)


def test_softmax_hands_down_inputs_that_give_its_target():
    target = nn.softmax(jnp.flip(X, 0))
    y, below, _ = turn(machines.reversible_softmax(), X, toward(target))
    np.testing.assert_allclose(y, nn.softmax(X), atol=1e-6)
    np.testing.assert_allclose(nn.softmax(below.target), target, atol=1e-6)


def test_batch_norm_keeps_running_statistics_and_differences():
    images = X.reshape(6, 5, 1, 1) + jnp.zeros((6, 5, 1, 3))
    machine = machines.reversible_batch_norm(momentum=0.6)
    delta = jnp.full(images.shape, 0.5)
    y, below, after = turn(machine, images, lambda y: machines.Feedback.along(y, delta))
    assert y.shape == images.shape
    deviation = np.sqrt(np.var(X) + 1e-5)
    np.testing.assert_allclose(below.delta, np.full(images.shape, 0.5 * deviation), rtol=1e-5)
    np.testing.assert_allclose(after.fixed["mean"], np.full(3, 0.4 * X.mean()), atol=1e-6)
    np.testing.assert_allclose(after.fixed["variance"], np.full(3, 0.6 + 0.4 * np.var(X)), rtol=1e-5)
    y, residuals = machine.forward((), after.fixed, images, KEY, False)
    np.testing.assert_allclose(y, (images - 0.4 * X.mean()) / np.sqrt(0.6 + 0.4 * np.var(X) + 1e-5), atol=1e-5)
    context = machines.Context(None, None, jnp.int32(0), KEY)
    below = machine.backward((), after.fixed, residuals, machines.Feedback.toward(y, y), context)[1]
    np.testing.assert_allclose(below.target, images, atol=1e-5)


def test_targets_go_back_to_where_elements_came_from():
    target = jax.random.normal(jax.random.key(3), (3, 10))
    below = turn(machines.back_target(lambda x: x.reshape(3, 10)), X, toward(target))[1]
    np.testing.assert_array_equal(below.target, target.reshape(6, 5))
    below = turn(machines.back_target(lambda x: x.T), X, lambda y: machines.Feedback.along(y, X.T / 128))[1]
    np.testing.assert_array_equal(below.delta, X / 128)

    chosen = jnp.array([4, 1, 1])
    target = jax.random.normal(jax.random.key(4), (6, 3))
    below = turn(machines.back_target(lambda x: x[:, chosen]), X, toward(target))[1]
    expected = np.array(X)
    expected[:, 4], expected[:, 1] = target[:, 0], target[:, 1:].mean(1)
    np.testing.assert_allclose(below.target, expected, atol=1e-6)
    np.testing.assert_allclose(below.delta, X - expected, atol=1e-6)
    np.testing.assert_array_equal(below.delta[:, [0, 2, 3]], 0)


def test_reversible_layers_inside_a_chain_leave_the_others_alone():
    target = jnp.full((6, 4), 0.3)
    chain = machines.chain(machines.from_linen(nn.Dense(4)), machines.reversible_sigmoid())
    below = turn(chain, X, toward(target))[1]
    kernel, bias = (chain.init(KEY, X).params[0][name] for name in ("kernel", "bias"))
    misses = X @ kernel + bias[None] - np.log(0.3 / 0.7)
    np.testing.assert_allclose(below.delta, misses @ kernel.T, atol=1e-5)


def test_refusals():
    for make, says in (
        (lambda: machines.reversible_sigmoid(0), "margin of a reversible layer is 0"),
        (lambda: machines.reversible_tanh(2), "margin of a reversible layer is 2"),
        (lambda: machines.reversible_leaky_relu(0), "leaky relu of slope 0"),
        (lambda: machines.reversible_batch_norm(epsilon=0), "epsilon of batch norm is 0"),
        (lambda: machines.chain(machines.back_target(jnp.ravel)).init(KEY, jnp.zeros(3, jnp.int32)), "real numbers"),
    ):
        with pytest.raises(ValueError, match=says):
            make()
