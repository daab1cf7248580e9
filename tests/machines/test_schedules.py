"""What a machine hands down is scaled, and phases take turns."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import machines

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (6, 5))
DELTA = jax.random.normal(jax.random.key(2), (6, 4)) / 6


def learned(machine, step=0):
    state = jax.jit(machine.init)(KEY, X)

    @jax.jit
    def run(state, step):
        y, residuals = machine.forward(state.params, state.fixed, X, KEY, True)
        context = machines.Context(None, None, step, KEY)
        return machines.learn(machine, state, residuals, machines.Feedback.along(y, DELTA), context)

    return run(state, jnp.int32(step))


@pytest.mark.parametrize(
    "inside", [lambda m: m, machines.chain, machines.step_then_feedback], ids=("layer", "chain", "order")
)
def test_only_what_goes_down_is_scaled(inside):
    machine = inside(machines.from_linen(nn.Dense(4), optax.sgd(0.1)))
    state, below, _ = learned(machine)
    scaled_state, scaled, _ = learned(machines.with_step(machine, 3.0))
    jax.tree.map(np.testing.assert_array_equal, scaled_state, state)
    np.testing.assert_array_equal(scaled.delta, 3 * below.delta)
    np.testing.assert_allclose(scaled.target, X - 3 * below.delta, atol=1e-6)


def test_the_step_follows_a_schedule():
    dense = machines.from_linen(nn.Dense(4))
    machine = machines.with_step(dense, optax.linear_schedule(1.0, 0.0, 4))
    whole = learned(dense)[1].delta
    for step, size in ((0, 1.0), (1, 0.75), (4, 0.0)):
        np.testing.assert_allclose(learned(machine, step)[1].delta, size * whole, rtol=1e-6)
    np.testing.assert_allclose(learned(machine, 4)[1].target, X, atol=1e-6)


@pytest.mark.parametrize("inside", [lambda m: m, machines.chain], ids=("layer", "chain"))
def test_outside_of_its_phase_a_machine_hands_down_and_does_not_move(inside):
    layer = inside(machines.from_linen(machines.Layer(4, ("norm", nn.tanh)), optax.adam(0.1)))
    _, when = machines.alternating(1)
    start, free, in_phase = jax.jit(layer.init)(KEY, X), learned(layer), learned(machines.with_phase(layer, when), 1)
    jax.tree.map(np.testing.assert_array_equal, in_phase, free)
    still, below, _ = learned(machines.with_phase(layer, when), 0)
    jax.tree.map(np.testing.assert_array_equal, still, free[0]._replace(params=start.params, opt_state=start.opt_state))
    jax.tree.map(np.testing.assert_array_equal, below, free[1])
    assert not np.array_equal(*(jax.tree.leaves(state.params)[0] for state in (still, free[0])))


def test_phases_alternate_inside_jit():
    first, second = machines.alternating(3)
    steps = jnp.arange(12)
    np.testing.assert_array_equal(jax.jit(first)(steps), [True] * 3 + [False] * 3 + [True] * 3 + [False] * 3)
    np.testing.assert_array_equal(jax.jit(second)(steps), ~np.asarray(first(steps)))
    with pytest.raises(ValueError, match="the number of updates of a phase is 0: it must be 1"):
        machines.alternating(0)
