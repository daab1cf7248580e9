"""What climbs is never worse, and every sample keeps its own best."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import machines
from al_jax.machines.climbing import climbed, gaussian_climb
from al_jax.machines.scores import Score, label_rate, target_distance

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (5, 4))
LABEL = jnp.arange(5) % 3
CONTEXT = machines.Context(None, LABEL, jnp.int32(0), jax.random.key(7))


def incoming():
    return machines.chain(
        machines.from_linen(nn.Dense(7), optax.sgd(0.1)),
        machines.with_dropout(machines.from_linen(nn.Dense(6), optax.sgd(0.1)), 0.5),
    )


def after(machine, feedback_of):
    state = machine.init(KEY, X)

    @jax.jit
    def run(state):
        y, residuals = machine.forward(state.params, state.fixed, X, KEY, True)
        return y, residuals, machines.learn(machine, state, residuals, feedback_of(y), CONTEXT)

    return state, *run(state)


def test_the_lower_machine_goes_toward_each_samples_best_draw():
    top = machines.feedback_only(machines.from_linen(nn.Dense(3)))
    machine = climbed(incoming(), top, candidates=6)
    target = jax.random.normal(jax.random.key(3), (5, 3))
    state, _, residuals, (learned, below, metrics) = after(machine, lambda y: machines.Feedback.toward(y, target))

    (left, _), (_, y, _) = residuals
    lower, upper = (machines.MachineState(*(field[part] for field in state)) for part in range(2))
    draw = jax.jit(lambda key: incoming().forward(lower.params, lower.fixed, X, key, True)[0])
    kernel, bias = (np.asarray(upper.params[name]) for name in ("kernel", "bias"))
    draws = np.stack([y, *map(draw, jax.random.split(jax.random.fold_in(CONTEXT.key, 2), 6))])
    distances = np.square(draws @ kernel + bias - np.asarray(target)).sum(2)
    best = distances.argmin(0)
    assert len(set(best.tolist())) > 1
    goal = machines.Feedback.toward(y, jnp.asarray(draws[best, np.arange(5)]))
    own = CONTEXT._replace(key=jax.random.fold_in(CONTEXT.key, 0))
    expected, handed, _ = jax.jit(lambda: machines.learn(incoming(), lower, left, goal, own))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), learned.params[0], expected.params)
    np.testing.assert_allclose(below.delta, handed.delta, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, learned.params[1], state.params[1])
    gain = distances[0] - distances.min(0)
    np.testing.assert_allclose(metrics["1_chain"]["gain"], gain.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["1_chain"]["climbed"], (gain > 0).mean())


def test_a_classifier_that_has_no_gradient_teaches_the_layer_below():
    trees = machines.ensemble(machines.tree_classifier(3, 3, feedback=None), 2)
    machine = climbed(incoming(), trees, candidates=3, score=label_rate)
    assert machine.needs == {"label"}
    trainer = machines.trainer(machine)
    batches = {"image": jnp.stack([X] * 3), "label": jnp.stack([LABEL] * 3)}
    state = trainer.init(KEY, {"image": X, "label": LABEL})
    state, metrics = trainer.step(state, batches)
    assert trainer.predict(state, X).shape == (5, 3)
    assert float(metrics.losses[0]["1_chain/climbed"].max()) > 0
    assert np.isfinite(metrics.losses[-1]["loss"]).all()


def test_gaussian_climbing_never_hands_down_what_is_worse():
    dense = machines.from_linen(nn.Dense(3), optax.sgd(0.1))
    target = jax.random.normal(jax.random.key(3), (5, 3))
    feedback_of = lambda y: machines.Feedback.toward(y, target)
    far = gaussian_climb(dense, candidates=4, sigma=100.0)
    state, _, _, (learned, below, _) = after(far, feedback_of)
    np.testing.assert_array_equal(below.target, X)  # nothing so far away is better
    _, _, _, (plain, _, _) = after(dense, feedback_of)
    jax.tree.map(np.testing.assert_array_equal, learned, plain)

    near = gaussian_climb(dense, candidates=200, sigma=lambda step: jnp.float32(0.3) / (1 + step))
    _, y, _, (_, below, _) = after(near, feedback_of)
    at = lambda x: dense.forward(state.params, state.fixed, x, KEY, True)[0]
    before, now = (target_distance(at(x), feedback_of(y), CONTEXT).value for x in (X, below.target))
    assert (now < before).all()


def test_scores_of_both_directions_do_not_mix():
    high, low = Score(jnp.array([1.0, 3.0]), True), Score(jnp.array([1.0, 3.0]), False)
    np.testing.assert_array_equal(high.better(high + high), [False, False])
    np.testing.assert_array_equal(low.better(low + low), [True, True])
    np.testing.assert_array_equal(machines.stacked([high, high]).value, [[1, 3], [1, 3]])
    assert jax.jit(lambda score: score.mean())(low).maximise is False
    for mix in (
        lambda: high + low,
        lambda: high - low,
        lambda: high.better(low),
        lambda: machines.stacked([high, low]),
    ):
        with pytest.raises(ValueError, match="some are better when greater"):
            mix()


def test_refusals_name_the_machine():
    with pytest.raises(ValueError, match="candidates of machine 'climbed' is 0: it must be 1 or more"):
        climbed(incoming(), incoming(), candidates=0)
    with pytest.raises(ValueError, match="label_rate scores by the label"):
        label_rate(X, machines.Feedback.along(X, X), machines.Context(None, None, jnp.int32(0), KEY))
