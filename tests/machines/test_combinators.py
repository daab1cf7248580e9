"""Machines that change another one: inner loops, noise, averages and masks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from turns import KEY, LABEL, SGD, X, close, dense, turn

from al_jax import machines
from al_jax.losses import cross_entropy
from al_jax.machines import from_linen


def test_repeat_input_takes_several_steps_and_keeps_the_parameters_own_gradient():
    one = turn(dense(4))
    once = turn(machines.repeat_input(dense(4), 1, optax.sgd(1.0)))
    close(once[3:], one[3:])
    state, y, error, below, _, _, _ = turn(machines.repeat_input(dense(4), 40, optax.sgd(0.3)))
    target = y - error
    layer = machines.Layer(4, (nn.tanh,))

    def distance(x):
        return jnp.sum(jnp.square(layer.apply({"params": state.params}, x, True) - target))

    assert distance(below.target) < 0.5 * distance(X)
    labelled = machines.repeat_input(dense(4), 40, optax.sgd(0.3), loss=cross_entropy)
    state, _, _, below, _, _, _ = turn(labelled)
    scores = [layer.apply({"params": state.params}, x, True) for x in (below.target, X)]
    assert cross_entropy(scores[0], LABEL) < cross_entropy(scores[1], LABEL)
    assert labelled.needs == {"label"}


def test_repeat_params_learns_several_times_from_one_batch():
    state, y, error, below, after, _, _ = turn(machines.repeat_params(dense(4), 3))
    layer = machines.Layer(4, (nn.tanh,))
    params = state.params
    for _ in range(3):
        gradient = jax.grad(lambda p: 0.5 * jnp.sum(jnp.square(layer.apply({"params": p}, X, True) - (y - error))))(
            params
        )
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)
    close(after.params, params)
    close(below, turn(dense(4))[3])
    with pytest.raises(ValueError, match="draws 7 of 6 examples"):
        turn(machines.repeat_params(dense(4), 3, batch=7))


def test_repeat_params_descends_a_loss_anew_at_every_step():
    state, _, _, below, after, _, _ = turn(machines.repeat_params(dense(4), 3, loss=cross_entropy))
    layer, params = machines.Layer(4, (nn.tanh,)), state.params
    for _ in range(3):
        gradient = jax.grad(lambda p: cross_entropy(layer.apply({"params": p}, X, True), LABEL))(params)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)
    close(after.params, params)
    close(below, turn(dense(4))[3])
    assert machines.repeat_params(dense(4), 3, loss=cross_entropy).needs == {"label"}


@pytest.mark.parametrize("loss", [None, cross_entropy], ids=["target", "loss"])
def test_repeat_params_draws_other_examples_for_every_turn(loss):
    state, y, error, _, after, _, _ = turn(machines.repeat_params(dense(4), 3, batch=4, loss=loss))
    layer, params, target = machines.Layer(4, (nn.tanh,)), state.params, y - error

    def objective(params, rows):
        y = layer.apply({"params": params}, X[rows], True)
        return loss(y, LABEL[rows]) if loss else 0.5 * jnp.sum(jnp.square(y - target[rows]))

    for time in range(3):
        key, _ = jax.random.split(jax.random.fold_in(KEY, time))
        rows = jax.random.choice(key, 6, (4,), replace=False)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(objective)(params, rows))
    close(after.params, params)


def test_noise_is_the_machines_own_affair_or_part_of_the_target():
    quiet = turn(dense(4))
    own, explored = turn(machines.with_noise(dense(4), 0.3)), turn(machines.with_noise(dense(4), 0.3, explore=True))
    close(own[1], explored[1])
    assert not np.allclose(own[1], quiet[1])
    noisy = X + 0.3 * jax.random.normal(jax.random.split(KEY)[0], X.shape)
    close(explored[3].target, noisy - own[3].delta)
    machine = machines.with_noise(dense(4), 0.3)
    close(machine.forward(own[0].params, own[0].fixed, X, KEY, False)[0], quiet[1])


def test_strength_follows_the_number_of_the_update():
    machine = machines.with_noise(dense(4), lambda step: jnp.where(step < 1, 0.0, 0.5))
    state, y, _, _, after, _, _ = turn(machine)
    close(y, turn(dense(4))[1])
    assert int(after.fixed["step"]) == 1
    assert not np.allclose(machine.forward(state.params, after.fixed, X, KEY, True)[0], y)


def test_dropout_keeps_the_mean_and_hands_down_what_it_kept():
    many = jnp.ones((6, 4000))
    machine = machines.with_dropout(from_linen(nn.Dense(4), SGD), 0.25)
    state, _, error, below, _, _, _ = turn(machine, many)
    through = below.delta / (error @ state.params["kernel"].T)
    np.testing.assert_allclose(np.where(through > 0.5, through, 4 / 3), 4 / 3, rtol=1e-2)
    assert not through[through < 0.5].any()
    np.testing.assert_allclose(through.mean(), 1, atol=0.02)


def test_an_average_predicts_and_may_take_over():
    state, _, _, _, after, _, _ = turn(machines.ema_params(dense(4), 0.9))
    close(after.params, turn(dense(4))[4].params)
    close(after.fixed["average"], jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, state.params, after.params))
    machine = machines.ema_params(dense(4), 0.9, every=2)
    predicted = machine.forward(state.params, after.fixed, X, KEY, False)[0]
    close(predicted, machine.forward(after.fixed["average"], after.fixed, X, KEY, True)[0])
    _, _, _, _, second, _, _ = turn(machine, step=1)
    close(second.params, second.fixed["average"])
    with pytest.raises(ValueError, match="decay is 2"):
        machines.ema_params(dense(4), 2)


def test_masks_keep_units_examples_and_parameters_as_they_are():
    plain = from_linen(nn.Dense(4), SGD)
    state, _, error, below, after, _, _ = turn(machines.masked(plain, output=machines.some_units(3)))
    still = [bool((after.params["kernel"][:, unit] == state.params["kernel"][:, unit]).all()) for unit in range(4)]
    assert sum(still) == 1
    close(below.delta, jnp.where(np.asarray(still)[None], 0, error) @ state.params["kernel"].T)

    _, _, _, below, _, _, _ = turn(machines.masked(plain, input=machines.some_examples(2)))
    assert sorted(np.asarray(below.delta).any(axis=1)) == [False] * 4 + [True] * 2
    np.testing.assert_array_equal(
        below.target[~np.asarray(below.delta).any(axis=1)], X[~np.asarray(below.delta).any(axis=1)]
    )

    adam = from_linen(nn.Dense(4), optax.adam(0.1))
    state, _, _, _, after, _, _ = turn(machines.masked(adam, params={"kernel": False, "bias": True}))
    np.testing.assert_array_equal(after.params["kernel"], state.params["kernel"])
    assert not np.allclose(after.params["bias"], state.params["bias"])


def test_a_mask_in_a_mask_draws_for_itself():
    within = machines.masked(from_linen(nn.Dense(64), SGD), output=machines.some_units(32))
    state, _, _, _, after, _, _ = turn(machines.masked(within, output=machines.some_units(32)))
    moved = (after.params["kernel"] != state.params["kernel"]).any(axis=0).sum()
    assert 4 < moved < 28  # units that both have drawn; 16 on the average


def test_repeat_input_keeps_its_machines_own_order_of_learning():
    often = machines.repeat_params(dense(4), 5)
    searched = turn(machines.repeat_input(often, 3, optax.sgd(0.1)))
    close(searched[4].params, turn(often)[4].params)
    close(searched[3], turn(machines.repeat_input(dense(4), 3, optax.sgd(0.1)))[3])


def test_another_update_replaces_an_order_of_its_own_too():
    still = machines.replaced(machines.repeat_params(dense(4), 3), update=lambda state, *_: state)
    state, _, _, _, after, _, _ = turn(still)
    close(after, state, 0)


def test_the_strength_of_noise_does_not_count_the_turns_of_an_inner_loop():
    often = machines.repeat_params(machines.with_noise(dense(4), 0.1), 3)
    assert int(turn(often, step=6)[4].fixed["step"]) == 7
