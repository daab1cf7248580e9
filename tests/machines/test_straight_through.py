"""Hard functions with straight-through derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import machines

X = jnp.array([-2.0, -1.0, -0.6, 0.0, 0.4, 1.0, 1.5])
FORWARD = {
    machines.sign_through: [-1, -1, -1, 1, 1, 1, 1],
    machines.step_through: [0, 0, 0, 1, 1, 1, 1],
    machines.round_through: [-2, -1, -1, 0, 0, 1, 2],
    machines.argmax_through: [0, 0, 0, 0, 0, 0, 1],
}


@pytest.mark.parametrize("function", FORWARD, ids=lambda function: function.__name__)
def test_hard_values_and_straight_derivatives(function):
    inside = (jnp.abs(X) <= 1).astype(jnp.float32)
    y, pull = jax.vjp(lambda x: function(x, window=(-1.0, 1.0)), X)
    np.testing.assert_array_equal(y, FORWARD[function])
    cotangent = jnp.arange(1.0, 8.0)
    np.testing.assert_array_equal(pull(cotangent)[0], inside * cotangent)
    np.testing.assert_array_equal(jax.jvp(function, (X,), (cotangent,))[0], FORWARD[function])
    default = jax.jit(jax.vmap(jax.grad(lambda x: function(x[None]).sum())))(X)
    everywhere = function in (machines.round_through, machines.argmax_through)
    np.testing.assert_array_equal(default, jnp.ones(7) if everywhere else inside)


def test_types_stay_and_argmax_takes_the_last_axis():
    half = X.astype(jnp.bfloat16)
    for function in FORWARD:
        assert function(half).dtype == jnp.bfloat16
    rows = machines.argmax_through(jnp.array([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0]]))
    np.testing.assert_array_equal(rows, [[0, 1, 0], [1, 0, 0]])


def test_a_layer_of_signs_learns_through_a_machine():
    machine = machines.from_linen(machines.Layer(4, (machines.sign_through,)))
    x = jax.random.normal(jax.random.key(1), (6, 5))
    state = machine.init(jax.random.key(0), x)
    y, residuals = machine.forward(state.params, state.fixed, x, jax.random.key(0), True)
    assert set(np.unique(y)) == {-1.0, 1.0}
    context = machines.Context(None, None, jnp.int32(0), jax.random.key(0))
    feedback = machines.Feedback.along(y, jnp.ones_like(y))
    gradients, _, _ = machine.backward(state.params, state.fixed, residuals, feedback, context)
    before = x @ state.params["Dense_0"]["kernel"]
    np.testing.assert_allclose(gradients["Dense_0"]["kernel"], x.T @ (jnp.abs(before) <= 1).astype(x.dtype), atol=1e-5)


def test_an_empty_window_is_refused():
    with pytest.raises(ValueError, match="is empty"):
        machines.straight_through(jnp.round, (1.0, 1.0))
