"""Least squares against closed forms in double precision."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import machines
from al_jax.machines.least_squares import input_step, parameter_step

KEY = jax.random.key(0)
SOLVE = jax.jit(machines.solve_ridge)


def normal(*shape):
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def exact(a, b, ridge):
    """The ridge solution from the normal equations, in double precision."""
    a, b = np.float64(a), np.float64(b)
    return np.linalg.solve(a.T @ a + ridge * np.eye(a.shape[1]), a.T @ b)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (6, 6)])
@pytest.mark.parametrize("ridge", [1e-2, 3.0])
def test_ridge_is_the_closed_form(shape, ridge):
    a, b = normal(*shape), normal(shape[0], 3)
    np.testing.assert_allclose(SOLVE(a, b, ridge), exact(a, b, ridge), atol=2e-5)


def test_without_ridge_it_is_the_smallest_least_squares_solution():
    for shape in ((4, 9), (9, 4)):
        a, b = normal(*shape), normal(shape[0], 3)
        expected = np.linalg.lstsq(np.float64(a), np.float64(b), rcond=None)[0]
        np.testing.assert_allclose(machines.solve_ridge(a, b, 0), expected, atol=1e-5)
    ones = jnp.ones((3, 3))  # of rank 1
    np.testing.assert_allclose(machines.solve_ridge(ones, ones, 0.0), np.full((3, 3), 1 / 3), atol=1e-6)
    assert np.isfinite(SOLVE(ones, ones, 0.0)).all()  # traced, so by Cholesky


def step(machine, x, delta, number=0, state=None):
    state = jax.jit(machine.init)(KEY, x) if state is None else state

    @jax.jit
    def run(state, x, delta, number):
        y, residuals = machine.forward(state.params, state.fixed, x, KEY, True)
        feedback = machines.Feedback.along(y, delta)
        context = machines.Context(None, None, number, KEY)
        gradients, below, _ = machine.backward(state.params, state.fixed, residuals, feedback, context)
        return y, gradients, below, machine.update(state, residuals, gradients, context)

    return state, *run(state, x, delta, jnp.int32(number))


def test_the_input_step_reaches_the_target_where_it_can():
    machine, x, delta = machines.least_squares(4, inputs=0), normal(6, 9), normal(6, 4)
    state, y, _, below, _ = step(machine, x, delta)
    reached = machine.forward(state.params, state.fixed, below.target, KEY, False)[0]
    np.testing.assert_allclose(reached, y - delta, atol=1e-5)

    machine, x, delta = machines.least_squares(9, inputs=1e-2), normal(6, 4), normal(6, 9)  # more outputs than inputs
    state, y, _, below, _ = step(machine, x, delta)
    reached = machine.forward(state.params, state.fixed, below.target, KEY, False)[0]
    assert np.sum((reached - y + delta) ** 2) < 0.8 * np.sum(delta**2)


def test_the_input_step_in_differences():
    machine, x, delta = machines.least_squares(4, inputs=0.3), normal(6, 3, 3), normal(6, 4)
    state, _, gradients, below, _ = step(machine, x, delta)
    kernel = state.params["Dense_0"]["kernel"]
    np.testing.assert_allclose(below.delta, exact(kernel.T, delta.T, 0.3).T.reshape(6, 3, 3), atol=1e-5)
    np.testing.assert_allclose(below.target, x - below.delta, atol=1e-6)
    np.testing.assert_allclose(gradients["Dense_0"]["kernel"], x.reshape(6, 9).T @ delta, atol=1e-5)

    small = step(machine, x, delta / 128, state=state)[3].delta
    np.testing.assert_allclose(128 * small, below.delta, rtol=1e-4, atol=1e-6)  # whatever the loss's mean divides by
    stays = step(machine, x, 0 * delta, state=state)[3]
    np.testing.assert_array_equal(stays.delta, 0)
    np.testing.assert_array_equal(stays.target, x)
    assert np.abs(input_step(kernel, delta, 1e8)).max() < 1e-6


def test_the_ridge_follows_a_schedule():
    x, delta = normal(6, 5), normal(6, 4)
    machine = machines.least_squares(4, inputs=optax.linear_schedule(1.0, 0.1, 9))
    for number, ridge in ((0, 1.0), (9, 0.1)):
        state, _, _, below, _ = step(machine, x, delta, number)
        np.testing.assert_allclose(below.delta, exact(state.params["Dense_0"]["kernel"].T, delta.T, ridge).T, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 9), (9, 4)])
def test_the_parameter_step_has_no_ridge_on_the_bias(shape):
    x, delta, ridge = normal(*shape) + 2, normal(shape[0], 3) + 5, 0.2
    machine = machines.least_squares(3, optax.sgd(0.5), inputs=None, parameters=ridge)
    state, _, gradients, below, after = step(machine, x, delta)
    with_bias = np.concatenate([np.float64(x), np.ones((len(x), 1))], 1)
    penalty = ridge * np.eye(with_bias.shape[1])
    penalty[-1, -1] = 0
    expected = np.linalg.solve(with_bias.T @ with_bias + penalty, with_bias.T @ np.float64(delta))
    found = gradients["Dense_0"]
    np.testing.assert_allclose(found["kernel"], expected[:-1], atol=1e-4)
    np.testing.assert_allclose(found["bias"], expected[-1], atol=1e-4)
    np.testing.assert_allclose(below.delta, delta @ state.params["Dense_0"]["kernel"].T, atol=1e-5)
    jax.tree.map(
        lambda a, b, g: np.testing.assert_allclose(a, b - 0.5 * g, atol=1e-6),
        after.params,
        state.params,
        dict(gradients),
    )
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), parameter_step(x, 0 * delta, ridge))
    kernel, bias = parameter_step(x, delta, 1e8)
    np.testing.assert_allclose(kernel, 0, atol=1e-5)
    np.testing.assert_allclose(bias, delta.mean(0), atol=1e-5)  # a shift needs no kernel


def test_a_whole_parameter_step_fits_the_target():
    x = normal(6, 9)
    machine = machines.least_squares(3, optax.sgd(1.0), parameters=1e-4)
    delta = normal(6, 3)
    _, y, _, _, after = step(machine, x, delta)
    reached = machine.forward(after.params, after.fixed, x, KEY, False)[0]
    np.testing.assert_allclose(reached, y - delta, atol=1e-3)


def test_gradients_go_through_what_follows():
    chain = machines.chain(machines.least_squares(4, inputs=0.3), machines.from_linen(Activation()))
    x, delta = normal(6, 5), normal(6, 4)
    state, y, _, below, _ = step(chain, x, delta)
    inner = delta * (1 - y**2)
    np.testing.assert_allclose(below.delta, exact(state.params[0]["Dense_0"]["kernel"].T, inner.T, 0.3).T, atol=1e-5)


class Activation(nn.Module):
    def __call__(self, x):
        return nn.tanh(x)


def test_jit_and_vmap_change_nothing():
    a, b = normal(2, 4, 6), normal(2, 4, 3)
    together = jax.jit(jax.vmap(machines.solve_ridge, in_axes=(0, 0, None)))(a, b, 0.1)
    for index in range(2):
        np.testing.assert_allclose(together[index], SOLVE(a[index], b[index], 0.1), atol=1e-6)
        np.testing.assert_allclose(together[index], machines.solve_ridge(a[index], b[index], 0.1), atol=1e-6)


def test_refusals():
    for width, shown in (("8", "'8'"), (nn.Dense(3), "a Dense")):
        with pytest.raises(ValueError, match=f"the width of machine 'least_squares' is {shown}: it must be a whole"):
            machines.least_squares(width)
    with pytest.raises(ValueError, match="'least_squares' solves for neither"):
        machines.least_squares(3, inputs=None)
    with pytest.raises(ValueError, match="ridge for the parameters of machine 'top' is -1"):
        machines.least_squares(3, parameters=-1, name="top")
