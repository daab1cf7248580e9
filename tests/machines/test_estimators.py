"""scikit-learn estimators as layers answer what they predict, and are saved and restored as arrays are."""

import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge, SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.tree import DecisionTreeRegressor

from al_jax import machines
from al_jax.machines.estimators import estimator, fitted_estimators
from al_jax.training.checkpoint import Checkpoints

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = jnp.float32(RNG.standard_normal((20, 4)))
T = jnp.float32(RNG.standard_normal((20, 3)))
LABEL = jnp.arange(20) % 3
CONTEXT = machines.Context(None, LABEL, jnp.int32(0), KEY)


def tree():
    return DecisionTreeRegressor(max_depth=3, max_features=2, random_state=0)


def sgd():
    return SGDRegressor(random_state=0)


def begun(machine):
    state = machine.init(KEY, X)

    @jax.jit
    def learn(state, t):
        y, residuals = machine.forward(state.params, state.fixed, X, KEY, True)
        return machines.learn(machine, state, residuals, machines.Feedback.toward(y, t), CONTEXT)[0]

    @jax.jit
    def answer(state, x=X):
        return machine.forward(state.params, state.fixed, x, KEY, False)[0]

    return state, learn, answer


def test_a_layer_is_a_linear_map_before_and_the_separate_estimators_after_it_is_fitted():
    state, learn, answer = begun(estimator(tree, 3, feedback=None))
    before = answer(state)
    assert before.shape == (20, 3)
    np.testing.assert_allclose(before, X @ state.fixed.surrogate, atol=1e-6)
    assert fitted_estimators(state.fixed.model) == []
    learned = learn(state, T)
    expected = np.stack([tree().fit(X, np.asarray(T[:, i])).predict(X) for i in range(3)], axis=1)
    np.testing.assert_allclose(answer(learned), expected, atol=1e-6)
    np.testing.assert_allclose(fitted_estimators(learned.fixed.model)[1].predict(X), expected[:, 1], atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, learned, learn(state, T))  # to the bytes


def test_one_estimator_takes_all_targets():
    state, learn, answer = begun(estimator(lambda: Ridge(random_state=0), 3, feedback=None, separate=False))
    learned = learn(state, T)
    assert len(fitted_estimators(learned.fixed.model)) == 1
    np.testing.assert_allclose(answer(learned), Ridge().fit(X, T).predict(X), atol=1e-6)


def test_partial_fit_goes_on_and_leaves_the_older_state_as_it_was():
    state, learn, answer = begun(estimator(sgd, 3, feedback=None, partial=True))
    first = learn(state, T)
    at_first = answer(first)
    second = learn(first, T)
    expected = []
    for index in range(3):
        model = sgd().partial_fit(X, np.asarray(T[:, index])).partial_fit(X, np.asarray(T[:, index]))
        expected.append(model.predict(X))
    np.testing.assert_allclose(answer(second), np.stack(expected, 1), atol=1e-6)
    np.testing.assert_array_equal(answer(first), at_first)
    assert fitted_estimators(second.fixed.model)[0].t_ == 41
    anew, learn, answer = begun(estimator(sgd, 3, feedback=None))
    anew = learn(learn(anew, T), T)
    np.testing.assert_allclose(answer(anew)[:, 0], sgd().fit(X, np.asarray(T[:, 0])).predict(X), atol=1e-6)


@pytest.mark.parametrize("loss", ["log_loss", "hinge"])  # of which the first has probabilities
@pytest.mark.parametrize("partial", [False, True])
def test_a_classifier_learns_the_label(loss, partial):
    make = lambda: SGDClassifier(loss=loss, random_state=0)
    machine = estimator(make, 5, feedback=None, label=True, partial=partial)  # of which two classes never come
    assert machine.needs == {"label"}
    state, learn, answer = begun(machine)
    model = fitted_estimators((state := learn(state, jnp.zeros((20, 5)))).fixed.model)[0]
    scores = answer(state)
    np.testing.assert_array_equal(scores.argmax(1), model.predict(X))
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)


def test_states_of_several_seeds_learn_apart():
    machine = estimator(tree, 3, feedback=None)
    _, learn, answer = begun(machine)
    state = jax.vmap(machine.init, (0, None))(jax.random.split(KEY, 2), X)
    targets = jnp.stack([T, -T])
    together = jax.vmap(learn)(state, targets)
    for index in range(2):
        own = jax.tree.map(lambda leaf, i=index: leaf[i], state)
        alone = learn(own, targets[index])
        jax.tree.map(lambda a, b, i=index: np.testing.assert_array_equal(a[i], b), together, alone)
        np.testing.assert_array_equal(jax.vmap(answer)(together)[index], answer(alone))
    np.testing.assert_allclose(jax.vmap(answer)(state)[0], X @ state.fixed.surrogate[0], atol=1e-6)


def test_training_goes_on_from_a_checkpoint(tmp_path):
    layer = estimator(sgd, 3, feedback=None, partial=True, capacity=4096)
    trainer = machines.trainer(machines.chain(layer, machines.from_linen(nn.Dense(3))))
    batches = {"image": X[None], "label": LABEL[None]}
    state, _ = trainer.step(trainer.init(KEY, {"image": X, "label": LABEL}), batches)
    saved = trainer.components(state)
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, saved, {})
    checkpoints.close()
    restored = Checkpoints(tmp_path, keep=1).restore(jax.eval_shape(lambda: saved))
    state, _ = trainer.step(state, batches)
    again, _ = trainer.step(trainer.place(restored.components), batches)
    jax.tree.map(np.testing.assert_array_equal, trainer.components(state), trainer.components(again))
    assert state[0].model_state["fixed"].version == 2


def test_another_process_finds_the_same_bytes():
    program = (
        "import pickle, numpy as np; from sklearn.tree import DecisionTreeRegressor as T; r = np.random.default_rng(0);"
        "data = pickle.dumps(T(random_state=0).fit(r.random((50, 4), np.float32), r.random(50)), protocol=5)"
    )
    found: dict = {}
    exec(program, found)
    shown = program + "; print(data.hex())"
    other = subprocess.run([sys.executable, "-c", shown], capture_output=True, check=True, text=True).stdout
    assert other.strip() == found["data"].hex()


def test_refusals_name_the_machine():
    with pytest.raises(ValueError, match="'DecisionTreeRegressor': random_state is None"):
        estimator(DecisionTreeRegressor, 3, feedback=None)
    with pytest.raises(ValueError, match="'DecisionTreeRegressor': DecisionTreeRegressor has no partial_fit"):
        estimator(tree, 3, feedback=None, partial=True)
    for make, options, message in [
        (sgd, {"label": True}, "SGDRegressor is no classifier, which label=True needs"),
        (lambda: SGDClassifier(random_state=0), {}, "SGDClassifier is no regressor, which label=False needs"),
        (sgd, {"separate": False}, "SGDRegressor has one output: leave separate=True"),
        (Ridge(), {}, "takes what makes estimators, not a Ridge: a class, or lambda"),
        (sgd, {"capacity": 0}, "capacity of machine 'SGDRegressor' is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            estimator(make, 3, feedback=None, **options)
    with pytest.raises(ValueError, match="width of machine 'SGDRegressor' is 0: it must be 1 or more"):
        estimator(sgd, 0, feedback=None)
    assert estimator(lambda: MLPRegressor(random_state=0), 3, feedback=None, separate=False).hears  # which has no tag
    state, learn, _ = begun(estimator(lambda: SGDClassifier(random_state=0), 2, feedback=None, label=True, name="few"))
    with pytest.raises(jax.errors.JaxRuntimeError, match="'few' learns labels from 0 to 1, and there are others"):
        jax.block_until_ready(learn(state, T[:, :2]))
    state, learn, _ = begun(estimator(tree, 3, feedback=None, capacity=100, name="small"))
    with pytest.raises(jax.errors.JaxRuntimeError, match="'small': the fitted estimators need"):
        jax.block_until_ready(learn(state, T))
