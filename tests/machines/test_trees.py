"""Trees are scikit-learn's where no two splits are equally good, and machines of them fit what they are taught."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from al_jax import machines
from al_jax.machines.cart import fit_tree, predict_tree
from al_jax.machines.random_trees import fit_random_tree
from al_jax.machines.trees import tree_classifier, tree_layer

fit = jax.jit(fit_tree, static_argnames="depth")
fit_random = jax.jit(fit_random_tree, static_argnames=("depth", "cuts"))
KEY = jax.random.key(0)


def context(label=None, key=KEY):
    return machines.Context(None, label, jnp.int32(0), key)


def data(rows=60, features=5, outputs=2):
    x, t, z = (np.float32(np.random.default_rng(1).standard_normal((rows, n))) for n in (features, outputs, features))
    return jnp.asarray(x), jnp.asarray(t), jnp.asarray(z)


def test_a_tree_of_random_numbers_is_scikit_learns():
    x, t, z = data()
    tree = fit(x, t, KEY, depth=3)
    reference = DecisionTreeRegressor(max_depth=3, random_state=0).fit(x, t)
    np.testing.assert_allclose(predict_tree(tree, z), reference.predict(z), atol=1e-5)


def test_a_tree_stops_where_nothing_parts_the_samples_or_their_targets_are_equal():
    one = np.float32(1)
    values = np.array([0, one, np.nextafter(one, np.float32(2)), 3], np.float32)
    x = jnp.repeat(jnp.asarray(values), 3)[:, None]  # the middle of the neighbouring two rounds to the greater
    t = jnp.array([1.0, 1, 1, 1, 2, 3, 5, 5, 5, 5, 5, 5])[:, None]
    tree = fit(x, t, KEY, depth=4)
    np.testing.assert_allclose(predict_tree(tree, x)[:, 0], [1, 1, 1, 2, 2, 2, 5, 5, 5, 5, 5, 5], atol=1e-6)
    assert int((tree.right != jnp.arange(12)[None]).sum()) == 2  # so three leaves
    np.testing.assert_allclose(predict_tree(tree, jnp.array([[0.49], [0.51]]))[:, 0], [1, 2], atol=1e-6)  # the middle


def test_digits_are_learned_as_well_as_by_scikit_learn():
    x, y = load_digits(return_X_y=True)
    x, one_hot = jnp.float32(x), jax.nn.one_hot(y, 10)
    seen, unseen = slice(0, 600), slice(600, None)
    tree = fit(x[seen], one_hot[seen], KEY, depth=10)
    accuracy = np.mean(np.argmax(predict_tree(tree, x[unseen]), 1) == y[unseen])
    reference = DecisionTreeClassifier(max_depth=10, random_state=0).fit(x[seen], y[seen]).score(x[unseen], y[unseen])
    assert accuracy > reference - 0.04
    assert accuracy > 0.65


def test_a_node_of_more_samples_than_half_the_integers_is_cut_at_the_right_place():
    x = np.arange(100_000, dtype=np.float32)[:, None]  # 50,000 squared is more than an int32 holds
    tree = fit(jnp.asarray(x), jnp.float32(x > 9999), KEY, depth=1)
    np.testing.assert_allclose(predict_tree(tree, jnp.asarray(x[9990:10010]))[:, 0], [0] * 10 + [1] * 10, atol=1e-6)


def test_one_tree_for_each_target_is_separate_trees():
    x, t, _ = data(outputs=3)
    keys = jax.random.split(KEY, 3)
    all_trees = jax.jit(jax.vmap(lambda t, key: fit_tree(x, t[:, None], key, depth=3), (1, 0)))(t, keys)
    for index in range(3):
        own = fit(x, t[:, index : index + 1], keys[index], depth=3)
        jax.tree.map(lambda trees, one, i=index: np.testing.assert_allclose(trees[i], one, atol=1e-6), all_trees, own)


def test_among_all_cuts_a_random_tree_chooses_those_of_cart():
    x, t, _ = data()
    tree = fit_random(x, t, KEY, depth=3, cuts=3000)  # ten times as many as there are
    np.testing.assert_allclose(predict_tree(tree, x), predict_tree(fit(x, t, KEY, depth=3), x), atol=1e-5)


def test_a_random_tree_cuts_at_values_of_samples_and_knows_only_their_order():
    x, t, _ = data()
    tree = fit_random(x, t, KEY, depth=4, cuts=5)
    split = np.asarray(tree.right) != np.arange(16)
    assert np.isin(tree.threshold[split], x).all()
    other = fit_random(jnp.exp(x), t, KEY, depth=4, cuts=5)
    for name in ("right", "value"):
        np.testing.assert_array_equal(getattr(other, name), getattr(tree, name))
    assert not np.array_equal(fit_random(x, t, jax.random.key(1), depth=4, cuts=5).feature, tree.feature)
    in_leaves = np.asarray(predict_tree(tree, x))
    for answer in np.unique(in_leaves, axis=0):
        own = (in_leaves == answer).all(1)
        np.testing.assert_allclose(answer, t[own].mean(0), atol=1e-5)


def test_a_random_tree_stops_where_nothing_parts_the_samples():
    x = jnp.repeat(jnp.arange(3.0), 4)[:, None]
    tree = fit_random(x, jnp.repeat(jnp.array([1.0, 1, 5]), 4)[:, None], KEY, depth=4, cuts=30)
    assert int((tree.right != jnp.arange(16)[None]).sum()) == 1  # where the targets differ
    np.testing.assert_allclose(predict_tree(tree, x)[:, 0], np.repeat([1.0, 1, 5], 4), atol=1e-6)


@pytest.mark.parametrize(("joint", "cuts"), [(False, None), (True, None), (False, 60)])
def test_a_layer_answers_with_a_linear_map_until_it_fits_its_targets(joint, cuts):
    x, t, _ = data(rows=20, outputs=3)
    layer = tree_layer(3, 10, feedback=None, joint=joint, cuts=cuts)
    state = layer.init(KEY, x)
    y, residuals = layer.forward(state.params, state.fixed, x, KEY, True)
    np.testing.assert_allclose(y, x @ state.fixed.surrogate, atol=1e-6)
    learn = jax.jit(lambda state, t, key: machines.learn(
        layer, state, residuals, machines.Feedback.toward(y, t), context(key=key)
    ))  # fmt: skip
    learned, below, _ = learn(state, t, KEY)
    jax.tree.map(np.testing.assert_array_equal, learned, learn(state, t, KEY)[0])
    answers = layer.forward(learned.params, learned.fixed, x, KEY, True)[0]
    np.testing.assert_allclose(answers, t, atol=1e-5)
    np.testing.assert_array_equal(below.delta, jnp.zeros_like(x))
    np.testing.assert_array_equal(below.target, x)
    again, _, _ = learn(learned, -t, KEY)  # grown anew, whatever was there
    np.testing.assert_allclose(layer.forward((), again.fixed, x, KEY, True)[0], -t, atol=1e-5)


def test_a_classifier_learns_labels_of_whole_images_and_needs_them():
    x, label = jnp.uint8(jax.random.randint(KEY, (20, 3, 3, 1), 0, 255)), jnp.arange(20) % 4
    classifier = tree_classifier(4, 8, feedback=None)
    assert classifier.needs == {"label"}
    state = classifier.init(KEY, x)
    y, residuals = classifier.forward(state.params, state.fixed, x, KEY, True)
    above = machines.Feedback.along(y, jnp.zeros_like(y))
    learned, below, _ = jax.jit(lambda state: machines.learn(classifier, state, residuals, above, context(label)))(
        state
    )
    np.testing.assert_array_equal(classifier.forward((), learned.fixed, x, KEY, False)[0].argmax(1), label)
    assert below.delta.dtype == jnp.float32


def test_refusals_name_the_machine():
    with pytest.raises(ValueError, match="depth of machine 'trees' is 0: it must be 1 or more"):
        tree_layer(3, 0, feedback=None)
    with pytest.raises(ValueError, match="cuts of machine 'trees' is 0: it must be 1 or more"):
        tree_layer(3, feedback=None, cuts=0)
    with pytest.raises(ValueError, match=r"at most 16 levels, not 17"):
        tree_layer(3, 17, feedback=None, cuts=5)
    x, t, _ = data(rows=6)
    layer = tree_layer(2, 2, feedback=None)
    state = layer.init(KEY, x)
    with pytest.raises(ValueError, match="batches of 6 samples and cannot grow trees of 4"):
        layer.update(state, x[:4], t[:4], context())
