"""Targets through learned inverses: closed forms, exactness where nothing is to change, phases and learning."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import machines
from al_jax.losses import cross_entropy

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (6, 5))
LINEAR = nn.Dense(5), nn.Dense(5)


def propagation(modules=LINEAR, rate=0.1, **options):
    return machines.target_propagation(*modules, optax.sgd(rate), optax.sgd(rate), **options)


def begin(machine):
    return jax.jit(machine.init)(KEY, X)


def turn(machine, jit=True):
    """`(state, delta, step) -> (gradients, feedback below, metrics, y, state after)`."""

    def run(state, delta, step, key=KEY):
        y, residuals = machine.forward(state.params, state.fixed, X, KEY, True)
        context = machines.Context(None, None, step, key)
        feedback = machines.Feedback.along(y, delta)
        gradients, below, metrics = machine.backward(state.params, state.fixed, residuals, feedback, context)
        return gradients, below, metrics, y, machine.update(state, residuals, gradients, context)

    return jax.jit(run) if jit else run


def delta_of(width, key=2):
    return jax.random.normal(jax.random.key(key), (6, width)) / 6


def linear(params, x):
    return np.asarray(x, np.float64) @ np.asarray(params["kernel"], np.float64) + np.asarray(params["bias"], np.float64)


@pytest.mark.parametrize("difference", [False, True])
def test_the_target_below_and_the_gradients_have_closed_forms(difference):
    weight = 0.7
    machine = propagation(difference=difference, regularisation=weight)
    state = begin(machine)
    gradients, below, metrics, y, after = turn(machine)(state, delta_of(5), jnp.int32(0))
    forward, reverse = state.params["forward"], state.params["reverse"]
    target = np.asarray(y) - np.asarray(delta_of(5))
    g_y, g_t = linear(reverse, y), linear(reverse, target)
    expected = X + g_t - g_y if difference else g_t
    np.testing.assert_allclose(below.target, expected, atol=1e-5)
    np.testing.assert_allclose(below.delta, X - expected, atol=1e-5)
    np.testing.assert_allclose(gradients["forward"]["kernel"], np.asarray(X).T @ (y - target), atol=1e-5)
    # of mean(|g(y) - x|² + weight * |g(y) - g(t)|²) by the kernel of g
    misses, apart = g_y - np.asarray(X), g_y - g_t
    kernel = 2 / 6 * (np.asarray(y).T @ misses + weight * (np.asarray(y) - target).T @ apart)
    np.testing.assert_allclose(gradients["reverse"]["kernel"], kernel, atol=1e-5)
    np.testing.assert_allclose(gradients["reverse"]["bias"], 2 / 6 * misses.sum(0), atol=1e-5)
    np.testing.assert_allclose(metrics["reconstruction"], (misses**2).sum() / 6, rtol=1e-5)
    np.testing.assert_allclose(
        after.params["reverse"]["kernel"], reverse["kernel"] - 0.1 * gradients["reverse"]["kernel"], atol=1e-6
    )
    np.testing.assert_allclose(
        after.params["forward"]["kernel"], forward["kernel"] - 0.1 * gradients["forward"]["kernel"], atol=1e-6
    )


def test_difference_keeps_the_input_where_nothing_is_to_change():
    modules = machines.Layer(7, ("norm", nn.tanh)), machines.Layer(5, ("norm", nn.relu))

    def below(machine):
        run = turn(machine, jit=False)
        return jax.jit(lambda state: run(state, jnp.zeros((6, 7)), jnp.int32(0))[1])(begin(machine))

    kept = below(propagation(modules, difference=True))
    np.testing.assert_array_equal(kept.delta, 0)
    np.testing.assert_array_equal(kept.target, X)
    assert np.abs(below(propagation(modules)).delta).max() > 0.1


def test_a_perfect_inverse_makes_both_kinds_the_same():
    plain, corrected = propagation(), propagation(difference=True)
    state = begin(plain)
    kernel, bias = state.params["forward"]["kernel"] + 2 * jnp.eye(5), jnp.arange(5.0)
    inverse = jnp.linalg.inv(kernel)
    params = {"forward": {"kernel": kernel, "bias": bias}, "reverse": {"kernel": inverse, "bias": -bias @ inverse}}
    state = state._replace(params=params)
    results = [turn(machine)(state, delta_of(5), jnp.int32(0)) for machine in (plain, corrected)]
    np.testing.assert_allclose(results[0][1].delta, results[1][1].delta, atol=1e-5)
    np.testing.assert_allclose(results[0][1].delta, delta_of(5) @ inverse, atol=1e-5)
    assert results[0][2]["reconstruction"] < 1e-9


def test_noise_disturbs_the_pairs_that_the_inverse_learns_from():
    machine = propagation(noise=0.5)
    state = begin(machine)
    run = turn(machine)
    gradients = run(state, delta_of(5), jnp.int32(0), KEY)[0]
    # one leaf: its noise is drawn with the first of one key of the first of three
    key = jax.random.split(jax.random.split(KEY, 3)[0], 1)[0]
    near = X + 0.5 * jax.random.normal(key, X.shape)
    y = linear(state.params["forward"], near)
    misses = linear(state.params["reverse"], y) - np.asarray(near)
    np.testing.assert_allclose(gradients["reverse"]["kernel"], 2 / 6 * y.T @ misses, atol=1e-5)
    again, other = (run(state, delta_of(5), jnp.int32(0), jax.random.key(seed))[0] for seed in (0, 9))
    jax.tree.map(np.testing.assert_array_equal, again, gradients)
    assert not np.allclose(other["reverse"]["kernel"], gradients["reverse"]["kernel"])


def test_noise_follows_a_schedule():
    machine = propagation(noise=optax.linear_schedule(0.5, 0.0, 4))
    state = begin(machine)
    gradients, _, _, y, _ = turn(machine)(state, delta_of(5), jnp.int32(4))
    misses = linear(state.params["reverse"], y) - np.asarray(X)
    np.testing.assert_allclose(gradients["reverse"]["kernel"], 2 / 6 * np.asarray(y).T @ misses, atol=1e-5)


def test_who_is_switched_off_stays_exactly_as_it_was():
    reverse_when, forward_when = machines.alternating(2)
    modules = machines.Layer(7, ("norm", nn.tanh)), nn.Dense(5)
    machine = machines.target_propagation(*modules, forward_when=forward_when, reverse_when=reverse_when)
    run, state = turn(machine), begin(machine)
    for step in range(4):
        moves, stays = ("reverse", "forward") if step < 2 else ("forward", "reverse")
        after = run(state, delta_of(7, step), jnp.int32(step))[4]
        for field in ("params", "opt_state"):
            jax.tree.map(np.testing.assert_array_equal, getattr(after, field)[stays], getattr(state, field)[stays])
            pairs = zip(
                *map(jax.tree.leaves, (getattr(after, field)[moves], getattr(state, field)[moves])), strict=True
            )
            assert not all(np.array_equal(a, b) for a, b in pairs)
        assert not np.array_equal(
            *(s.fixed["forward"]["batch_stats"]["After_0"]["BatchNorm_0"]["mean"] for s in (after, state))
        )
        state = after
    always = machines.target_propagation(*modules)
    expected = turn(always)(state, delta_of(7), jnp.int32(0))[4]
    found = run(state, delta_of(7), jnp.int32(0))[4]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found.params["reverse"], expected.params["reverse"]
    )


def test_a_chain_with_learned_inverses_learns():
    target = jnp.sin(2 * X[:, :3])
    layers = [
        machines.from_linen(machines.Layer(16, (nn.tanh,)), optax.adam(1e-2)),
        propagation(
            (machines.Layer(16, (nn.tanh,)), machines.Layer(16, (nn.tanh,))), difference=True, noise=0.1, rate=0.05
        ),
        machines.with_step(machines.from_linen(nn.Dense(3), optax.adam(1e-2)), 2.0),
    ]
    chain = machines.chain(*layers)

    @jax.jit
    def train(state):
        def update(state, step):
            key = jax.random.fold_in(KEY, step)
            y, residuals = chain.forward(state.params, state.fixed, X, key, True)
            context = machines.Context(None, None, step, key)
            feedback = machines.Feedback.along(y, (y - target) / len(y))
            state, _, metrics = machines.learn(chain, state, residuals, feedback, context)
            return state, (jnp.mean((y - target) ** 2), metrics["2_Layer"]["reconstruction"])

        return jax.lax.scan(update, state, jnp.arange(300))

    start = begin(chain)
    end, (losses, reconstruction) = train(start)
    assert losses[-1] < 0.05 * losses[0]
    assert reconstruction[-1] < 0.5 * reconstruction[0]
    for part in ("forward", "reverse"):
        assert not np.allclose(start.params[1][part]["Dense_0"]["kernel"], end.params[1][part]["Dense_0"]["kernel"])
    # the first layer hears of the loss through the learned inverse alone
    assert not np.allclose(start.params[0]["Dense_0"]["kernel"], end.params[0]["Dense_0"]["kernel"])


def test_jit_and_vmap_change_nothing():
    machine = propagation(LINEAR, noise=0.2, regularisation=0.3)
    state, delta = begin(machine), delta_of(5)
    run, keys = turn(machine), jax.random.split(KEY, 2)
    eager = turn(machine, jit=False)(state, delta, jnp.int32(3), keys[0])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), run(state, delta, jnp.int32(3), keys[0]), eager
    )
    together = jax.jit(jax.vmap(lambda key: run(state, delta, jnp.int32(3), key)))(keys)
    for index, key in enumerate(keys):
        alone = run(state, delta, jnp.int32(3), key)
        own = jax.tree.map(lambda leaf, index=index: leaf[index], together)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), own, alone)


def test_angles_leave_the_inverse_out_which_no_loss_reaches():
    machine = machines.chain(propagation(), machines.from_linen(nn.Dense(4)))
    state, label = begin(machine), jnp.arange(6) % 4

    @jax.jit
    def measured(state):
        scores, _ = machine.forward(state.params, state.fixed, X, KEY, True)
        context = machines.Context(jax.grad(cross_entropy)(scores, label), label, jnp.int32(0), KEY)
        return machines.diagnostics(machine)(state, X, KEY, context)

    found = measured(state)["1_Dense"]
    np.testing.assert_allclose([found["angle"], found["norm_ratio"]], [0, 1], atol=1e-3)


def test_refusals():
    with pytest.raises(ValueError, match="noise of machine 'Dense' is -1"):
        propagation(noise=-1)
    with pytest.raises(ValueError, match=r"machine 'top' cannot take .* returns the shape \[6, 4\]: .* \[6, 5\]"):
        machines.chain(propagation((nn.Dense(3), nn.Dense(4)), name="top")).init(KEY, X)
    with pytest.raises(ValueError, match=r"machine 'Embed' .* real numbers"):
        machines.chain(propagation((nn.Embed(9, 3), nn.Dense(5)))).init(KEY, jnp.zeros((6, 5), jnp.int32))
