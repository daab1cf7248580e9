"""Votes, and rings of learners of which the newest few vote, the oldest first."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import machines
from al_jax.machines.ensembles import ensemble, voters
from al_jax.machines.votes import majority_vote, mean_vote, rate_vote, sign_vote, stochastic_votes

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (4, 2))


def remember():
    """A learner that answers the mean of the target it has learned, or the mean of what it has learned so far."""

    def init(key, x):
        return machines.MachineState(jnp.zeros(()), jnp.zeros((), jnp.int32), ())

    def forward(params, fixed, x, key, train):
        return jnp.broadcast_to(params, (len(x), 1)), x

    def backward(params, fixed, residuals, feedback, context):
        return feedback.target, machines.Feedback.along(residuals, jnp.full(residuals.shape, params)), {"of": params}

    def update(state, residuals, gradients, context):
        count = state.fixed + 1
        params = state.params + (gradients.mean() - state.params) / jnp.float32(count)
        return machines.MachineState(params, count, ())

    return machines.Machine(init, forward, backward, update, name="remember")


def taught(machine, values):
    state = machine.init(KEY, X)
    context = machines.Context(None, None, jnp.int32(0), KEY)

    @jax.jit
    def learn(state, value):
        y, residuals = machine.forward(state.params, state.fixed, X, KEY, True)
        feedback = machines.Feedback.toward(y, jnp.full(y.shape, value))
        return machines.learn(machine, state, residuals, feedback, context)

    answers = []
    for value in values:
        state, below, metrics = learn(state, value)
        answers.append(float(machine.forward(state.params, state.fixed, X, KEY, False)[0][0, 0]))
    return state, below, metrics, answers


def test_votes_are_their_closed_forms():
    votes = jnp.array([[1.0, -1.0], [1.0, 2.0], [-4.0, -0.5]])
    np.testing.assert_allclose(mean_vote(votes), votes.mean(0), atol=1e-7)
    np.testing.assert_allclose(mean_vote(votes, jnp.array([1, 3, 0])), [1.0, 1.25])
    np.testing.assert_array_equal(sign_vote(votes), [1, -1])
    np.testing.assert_array_equal(sign_vote(votes, jnp.array([1.0, 1.0, 0])), [1, 0])
    scores = jax.nn.one_hot(jnp.array([[0, 2], [1, 2], [1, 0]]), 3) * jnp.array([9.0, 1, 1])[:, None, None]
    np.testing.assert_allclose(rate_vote(scores), [[1 / 3, 2 / 3, 0], [1 / 3, 0, 2 / 3]], atol=1e-6)
    np.testing.assert_array_equal(majority_vote(scores).argmax(1), [1, 2])
    np.testing.assert_array_equal(majority_vote(scores, jnp.array([3, 1, 1])), [[1, 0, 0], [0, 0, 1]])


def test_a_stochastic_voter_gives_as_many_votes_as_it_is_asked_for():
    drop = machines.with_dropout(machines.from_linen(nn.Dense(2)), 0.5)
    state = drop.init(KEY, X)
    votes = stochastic_votes(drop, state.params, state.fixed, X, KEY, 5)
    assert votes.shape == (5, 4, 2)
    assert len(np.unique(votes, axis=0)) == 5
    np.testing.assert_array_equal(
        votes[3], drop.forward(state.params, state.fixed, X, jax.random.split(KEY, 5)[3], True)[0]
    )


@pytest.mark.parametrize("every", [1, 2])
def test_never_more_than_the_newest_few_vote_from_the_oldest_to_the_newest(every):
    for updates in range(12):
        order, weights = voters(jnp.int32(updates), 3, every)
        begun = max(1, -(-updates // every))
        expected = [number % 3 for number in range(begun)][-3:]  # learner i is in place i % 3
        np.testing.assert_array_equal(order[: len(expected)], expected)
        np.testing.assert_array_equal(weights, [1.0] * len(expected) + [0.0] * (3 - len(expected)))
        assert sorted(order.tolist()) == [0, 1, 2]


def test_the_newest_alone_learns_and_the_mean_of_the_voters_answers():
    values = [1.0, 2.0, 6.0, 10.0, 5.0]
    state, below, metrics, answers = taught(ensemble(remember(), 3), values)
    np.testing.assert_allclose(answers, [1, 1.5, 3, 6, 7])
    np.testing.assert_allclose(state.params, [10, 5, 6])
    np.testing.assert_allclose(below.delta, jnp.full(X.shape, 6.0))  # of those that voted in the last forward pass
    np.testing.assert_allclose(metrics["of"], 6)
    _, _, _, answers = taught(ensemble(remember(), 2, every=2), values)
    np.testing.assert_allclose(answers, [1, 1.5, 3.75, 4.75, 6.5])  # learners of (1, 2), (6, 10), (5)
    _, _, _, answers = taught(ensemble(remember(), 2, every=2, restart=False), values)
    np.testing.assert_allclose(answers[-1], (19 / 4 + 24 / 5) / 2)


def test_a_learner_that_makes_good_all_that_the_others_miss_brings_the_mean_to_the_target():
    values = [1.0, 2.0, 6.0, 10.0, 5.0, 5.0, -3.0]
    _, _, _, answers = taught(ensemble(remember(), 3, boost=1.0), values)
    np.testing.assert_allclose(answers, values, atol=1e-5)


def test_a_learner_makes_good_a_share_of_what_the_others_miss():
    _, _, _, answers = taught(ensemble(remember(), 2, boost=0.5), [1.0, 2.0, 6.0])
    first, second = 1.0, 2.0 + 0.5 * (2.0 - 1.0)
    third = 6.0 + 0.5 * (6.0 - second)
    np.testing.assert_allclose(answers, [first, (first + second) / 2, (second + third) / 2])


def test_one_member_that_never_begins_anew_is_the_machine_itself():
    dense = machines.from_linen(nn.Dense(3), optax.sgd(0.1))
    alone = ensemble(dense, 1, every=100)
    state, below, _, _ = taught(alone, [1.0, 2.0])
    begun = alone.init(KEY, X)
    own = jax.tree.map(lambda leaf: leaf[0], begun._replace(fixed=begun.fixed["members"]))
    context = machines.Context(None, None, jnp.int32(0), KEY)
    for value in (1.0, 2.0):
        y, residuals = dense.forward(own.params, own.fixed, X, KEY, True)
        feedback = machines.Feedback.toward(y, jnp.full(y.shape, value))
        own, expected, _ = machines.learn(dense, own, residuals, feedback, context)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, atol=1e-6), state.params, own.params)
    np.testing.assert_allclose(below.delta, expected.delta, atol=1e-6)


def test_trees_of_the_newest_batches_vote():
    trees = ensemble(machines.tree_layer(1, 6, feedback=None), 2)
    state, _, _, answers = taught(trees, [1.0, 3.0, 5.0])
    np.testing.assert_allclose(answers, [1, 2, 4], atol=1e-6)
    assert state.fixed["members"].version.tolist() == [1, 1]


def test_refusals_name_the_machine():
    with pytest.raises(ValueError, match="members of machine 'ensemble of remember' is 0: it must be 1"):
        ensemble(remember(), 0)
    with pytest.raises(ValueError, match=r"'ensemble of remember' makes good a share .* from 0 to 1, not 2"):
        ensemble(remember(), 3, boost=2)
