"""Operators of search meet their definitions, and estimates of evolution strategies their gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from al_jax import machines
from al_jax.machines import search
from al_jax.machines.evolution import centred_ranks, elitist, evolved, from_evosax, searched
from al_jax.machines.scores import Score

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (6, 3))
T = jax.random.normal(jax.random.key(1), (6, 2))


def context(key=KEY):
    return machines.Context(None, None, jnp.int32(0), key)


def test_the_best_individual_is_not_the_best_per_sample():
    population = {"a": jnp.arange(6.0).reshape(3, 2), "b": jnp.arange(18.0).reshape(3, 2, 3)}
    value = jnp.array([[9.0, 0.0], [6.0, 6.0], [0.0, 9.0]])
    best = search.best_individual(population, Score(value, True))
    np.testing.assert_array_equal(best["a"], [2, 3])
    own = search.best_per_sample(population, Score(value, True))
    np.testing.assert_array_equal(own["a"], [0, 5])
    np.testing.assert_array_equal(own["b"], [[0, 1, 2], [15, 16, 17]])
    least = search.best_per_sample(population, Score(value, False))
    np.testing.assert_array_equal(least["a"], [4, 1])
    np.testing.assert_array_equal(search.best_individual(population, Score(value[:, 1], False))["a"], [0, 1])
    two = search.best_individuals(population, Score(jnp.array([1.0, 3.0, 2.0]), False), 2)
    np.testing.assert_array_equal(two["a"], [[0, 1], [4, 5]])


@pytest.mark.parametrize("maximise", [True, False])
def test_probabilities_sum_to_one_and_prefer_the_better(maximise):
    score = Score(jnp.array([1.0, 4.0, -2.0]) * (1 if maximise else -1), maximise)
    np.testing.assert_allclose(search.fitness_probabilities(score), [1 / 3, 2 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(search.rank_probabilities(score), [2 / 6, 3 / 6, 1 / 6], atol=1e-6)
    found = search.softmax_probabilities(score, 2.0)
    np.testing.assert_allclose(found, np.exp([0.5, 2, -1]) / np.exp([0.5, 2, -1]).sum(), rtol=1e-5)
    alike = search.fitness_probabilities(Score(jnp.ones(4), maximise))
    np.testing.assert_allclose(alike, [0.25] * 4)
    drawn = search.select(KEY, {"a": jnp.arange(3)}, search.fitness_probabilities(score), 300)["a"]
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 300, [1 / 3, 2 / 3, 0], atol=0.1)


@pytest.mark.parametrize("maximise", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_no_number_is_the_worst(maximise, sign):
    infinite = jnp.float32(sign * np.inf)
    score = Score(jnp.stack([infinite - infinite, jnp.float32(1), jnp.float32(1), jnp.float32(2)]), maximise)
    best = search.best_individual(jnp.arange(4), score)
    assert best == (3 if maximise else 1)
    assert search.best_individuals(jnp.arange(4), score, 4)[-1] == 0
    assert search.best_per_sample(jnp.arange(4)[:, None], Score(score.value[:, None], maximise)).tolist() == [best]
    for probabilities in (search.fitness_probabilities, search.rank_probabilities, search.softmax_probabilities):
        assert probabilities(score).argmin() == 0
        np.testing.assert_allclose(probabilities(score).sum(), 1, rtol=1e-6)


def test_children_lie_in_their_parents_set_or_interval():
    first, second = {"a": jnp.zeros(4000), "b": jnp.ones(5)}, {"a": jnp.ones(4000), "b": -jnp.ones(5)}
    child = search.uniform_crossover(KEY, first, second, 0.2)
    assert set(np.unique(child["a"])) == {0, 1}
    np.testing.assert_allclose(child["a"].mean(), 0.2, atol=0.03)
    jax.tree.map(np.testing.assert_array_equal, search.uniform_crossover(KEY, first, second, 0.0), first)
    jax.tree.map(np.testing.assert_array_equal, search.uniform_crossover(KEY, first, second, 1.0), second)
    between = search.smooth_crossover(KEY, first, second)
    assert ((between["b"] >= -1) & (between["b"] <= 1)).all()
    np.testing.assert_allclose(between["a"].mean(), 0.5, atol=0.03)
    assert len(np.unique(between["a"])) > 1000


def test_mutations_have_exactly_their_rate():
    zeros = {"a": jnp.zeros((100, 100)), "b": jnp.zeros((100, 100), bool)}
    flipped = search.binary_mutation(KEY, zeros, 0.2)
    for leaf in (flipped["a"], flipped["b"]):
        np.testing.assert_allclose(np.mean(leaf), 0.2, atol=0.02)
    assert not np.array_equal(flipped["a"], flipped["b"])
    jax.tree.map(lambda a: np.testing.assert_array_equal(a, 1), search.binary_mutation(KEY, zeros, 1.0))
    np.testing.assert_allclose(np.std(search.gaussian_mutation(KEY, zeros["a"], 0.3)), 0.3, rtol=0.03)


def test_slopes_and_running_means_are_their_closed_forms():
    population = {"a": jax.random.normal(KEY, (8, 2)), "still": jnp.ones((8, 1))}
    value = 3 * population["a"][:, 0] + 1
    found = search.slope(population, Score(value, True))
    np.testing.assert_allclose(found["a"][0], 3, rtol=1e-5)
    np.testing.assert_allclose(found["a"][1], np.polyfit(population["a"][:, 1], value, 1)[0], rtol=1e-4)
    np.testing.assert_array_equal(found["still"], [0])
    np.testing.assert_allclose(search.decayed(jnp.array(4.0), jnp.array(8.0), 0.75), 5)
    np.testing.assert_allclose(search.with_momentum(jnp.array(4.0), jnp.array(1.0), 0.5), 3)


def gradients_of(machine, t=T):
    @jax.jit
    def run():
        state = machine.init(KEY, X)
        y, residuals = machine.forward(state.params, state.fixed, X, KEY, True)
        feedback = machines.Feedback.along(y, jnp.zeros_like(y)) if t is None else machines.Feedback.toward(y, t)
        gradients, below, _ = machine.backward(state.params, state.fixed, residuals, feedback, context())
        return ravel_pytree(gradients)[0], below.delta

    return run()


def cosine(a, b):
    return np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)


def test_an_evolution_strategy_estimates_the_gradients():
    exact = gradients_of(machines.from_linen(nn.Dense(2)))
    for found, wanted in zip(gradients_of(evolved(nn.Dense(2), 2000, 0.01)), exact, strict=True):
        assert cosine(found, wanted) > 0.98
        np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(wanted), rtol=0.1)  # it is unbiased
    ranked, found = gradients_of(evolved(nn.Dense(2), 2000, 0.01, weigh=centred_ranks))
    assert cosine(ranked, exact[0]) > 0.98
    assert cosine(found, exact[1]) > 0.98


def test_the_gradient_of_ones_own_output_as_target_vanishes_but_for_noise():
    for found in gradients_of(evolved(nn.Dense(2), 4, 1e-3), None):
        assert np.abs(found).max() < 1e-4


def error_after(machine, updates):
    state = machine.init(KEY, X)
    errors = []

    @jax.jit
    def learn(state, key):
        y, residuals = machine.forward(state.params, state.fixed, X, KEY, True)
        learned, _, _ = machines.learn(machine, state, residuals, machines.Feedback.toward(y, T), context(key))
        return learned, jnp.square(y - T).mean()

    for number in range(updates):
        state, error = learn(state, jax.random.fold_in(KEY, number))
        errors.append(float(error))
    return errors, state


def test_searches_learn_a_layer():
    errors, _ = error_after(evolved(nn.Dense(2), 32, 0.05, optax.adam(0.05)), 60)
    assert errors[-1] < 0.7 * errors[0]
    errors, state = error_after(searched(nn.Dense(2), elitist(24, 4, 0.1), feedback=None), 60)
    assert errors[-1] < 0.7 * errors[0]
    assert (np.diff(errors) < 1e-5).all()  # the best stays, on a batch that stays
    np.testing.assert_array_equal(ravel_pytree(state.params)[0], state.opt_state[0])


def test_evosax_learns_a_layer():
    algorithms = pytest.importorskip("evosax.algorithms")
    strategy = from_evosax(lambda vector: algorithms.CMA_ES(population_size=24, solution=vector))
    errors, _ = error_after(searched(nn.Dense(2), strategy, feedback=None), 60)
    assert errors[-1] < 0.7 * errors[0]


def test_a_population_of_parameters_is_a_vector_and_back():
    params = nn.Dense(2).init(KEY, X)["params"]
    vector, unravel = ravel_pytree(params)
    jax.tree.map(np.testing.assert_array_equal, unravel(vector), params)
    population = elitist(5, 1, 0.1).init(KEY, vector)
    assert population.shape == (5, 8)
    np.testing.assert_array_equal(population[0], vector)


def test_refusals_name_the_machine():
    with pytest.raises(ValueError, match="'Dense' needs an even population"):
        evolved(nn.Dense(2), 3, 0.1)
    with pytest.raises(ValueError, match="at least one elite and one child"):
        elitist(4, 4, 0.1)


@jax.custom_jvp
def refusing(x):
    return jnp.tanh(x)


@refusing.defjvp
def _(primals, tangents):
    raise AssertionError("a module was differentiated")


@pytest.mark.parametrize(
    "machine",
    [
        evolved(machines.Layer(2, (refusing,)), 4, 0.1),
        searched(machines.Layer(2, (refusing,)), elitist(4, 1, 0.1), feedback=machines.gaussian_search(2, 0.1)),
    ],
    ids=("evolved", "searched"),
)
def test_no_module_is_differentiated(machine):
    def turn(differentiate):
        state = machine.init(KEY, X)
        run = lambda x: machine.forward(state.params, state.fixed, x, KEY, True)
        if differentiate:
            return jax.grad(lambda x: run(x)[0].sum())(X)
        y, residuals = run(X)
        return machines.learn(machine, state, residuals, machines.Feedback.toward(y, T), context())

    jax.eval_shape(lambda: turn(False))
    with pytest.raises(AssertionError, match="a module was differentiated"):
        jax.eval_shape(lambda: turn(True))
