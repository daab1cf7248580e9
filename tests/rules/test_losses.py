import jax
import jax.numpy as jnp
import numpy as np
import pytest

import al_jax as al
from al_jax.losses import one_hot


def test_mean_squared_error_is_a_mean_over_examples_and_units():
    assert al.mean_squared_error(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[1.0, 0.0], [0.0, 4.0]])) == 13 / 4


@pytest.mark.parametrize("loss", [al.mean_squared_error, al.code_contrast])
def test_losses_of_codes_refuse_to_broadcast(loss):
    with pytest.raises(ValueError, match=r"\(2, 1\) is not the target's \(2, 3\)"):
        loss(jnp.zeros((2, 1)), jnp.zeros((2, 3)))


def random_codes(classes=4, width=6, batch=8):
    rng = np.random.default_rng(0)
    codes, label = rng.normal(size=(classes, width)), np.arange(batch) % classes
    return jnp.asarray(rng.normal(size=(batch, width)), jnp.float32), jnp.asarray(codes[label], jnp.float32), label


def test_code_contrast_is_that_of_softmaxes_over_distances():
    prediction, target, _ = random_codes()

    def shares(rows):
        apart = ((np.asarray(rows, np.float64)[:, None] - np.asarray(target, np.float64)) ** 2).sum(2)
        own = ((np.asarray(target, np.float64)[:, None] - np.asarray(target, np.float64)) ** 2).sum(2)
        kernel = np.exp(-3 * apart / own.mean())
        return kernel / kernel.sum(1, keepdims=True)

    wanted, given = shares(target), shares(prediction)
    expected = (wanted * np.log(wanted / given)).sum(1).mean()
    np.testing.assert_allclose(al.code_contrast(prediction, target, 3.0, squares=0), expected, rtol=1e-5)
    squares = np.square(prediction - target).mean() / np.var(target, axis=0).mean()
    np.testing.assert_allclose(al.code_contrast(prediction, target, 3.0), expected + squares, rtol=1e-5)


def test_code_contrast_ends_where_the_prediction_is_the_code():
    _, target, _ = random_codes()
    loss, slope = jax.value_and_grad(al.code_contrast)(target, target)
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_code_contrast_of_distant_codes_is_cross_entropy_over_the_classes():
    prediction, _, label = random_codes(width=4)
    codes = jnp.eye(4)[label]
    # Of one-hot codes, two a class, the mean squared distance is 3/2, and the shares of the others e^-40.
    scores = 2 * (60 / 1.5) * prediction
    loss = al.code_contrast(prediction, codes, 60.0, squares=0)
    np.testing.assert_allclose(loss, al.cross_entropy(scores, label), rtol=1e-5)


def test_code_contrast_of_a_single_class_has_nothing_to_tell_apart():
    prediction, target, _ = random_codes(classes=1, batch=7)
    assert jax.value_and_grad(al.code_contrast)(prediction, target)[0] == 0
    assert jnp.all(jax.grad(al.code_contrast)(prediction, target) == 0)


def test_code_contrast_does_not_depend_on_the_scale_of_codes_unless_they_are_all_one():
    prediction, target, _ = random_codes()
    loss = al.code_contrast(prediction, target)
    np.testing.assert_allclose(al.code_contrast(1e-3 * prediction, 1e-3 * target), loss, rtol=1e-4)
    assert al.code_contrast(1e-4 * prediction, 1e-4 * target) == 0  # a variance below 1e-7


def test_cross_entropy_is_the_mean_negative_log_probability():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], np.float32)
    scores = np.log(probabilities) + np.array([[5.0], [-7.0]], np.float32)  # a shift of all scores changes nothing
    loss = al.cross_entropy(jnp.asarray(scores), jnp.array([2, 1]))
    np.testing.assert_allclose(loss, -(np.log(0.2) + np.log(0.8)) / 2, rtol=1e-5)


@pytest.mark.parametrize(
    "loss", [al.mean_squared_error, al.code_contrast, lambda p, t: al.cross_entropy(p, t[:, 0].astype(jnp.int32))]
)
def test_losses_are_float32_whatever_the_network_computes_in(loss):
    half = jnp.ones((2, 3), jnp.bfloat16)
    assert loss(half, half).dtype == jnp.float32


def test_losses_take_plain_numbers_and_lists():
    assert al.mean_squared_error(1.0, 3.0) == 4
    np.testing.assert_allclose(al.cross_entropy([[1.0, 1.0]], [0]), np.log(2), rtol=1e-6)


def test_labels_of_no_class_make_the_loss_nan():
    scores = jnp.zeros((2, 3))
    assert [bool(jnp.isnan(al.cross_entropy(scores, jnp.array([0, label])))) for label in (2, 3, -1)] == [0, 1, 1]
    assert jnp.isnan(one_hot(jnp.array([0, 3, -1]), 3)).all(1).tolist() == [False, True, True]


def test_labels_of_eight_bits_may_have_all_their_classes():
    label = jnp.array([0, 255], jnp.uint8)
    np.testing.assert_array_equal(one_hot(label, 256).argmax(1), [0, 255])
    np.testing.assert_allclose(al.cross_entropy(jnp.zeros((2, 256)), label), np.log(256), rtol=1e-6)


@pytest.mark.parametrize("label", [jnp.zeros(2), jnp.zeros((2, 1), jnp.int32), jnp.zeros(1, jnp.int32)])
def test_labels_are_one_integer_an_example(label):
    with pytest.raises(ValueError, match=r"labels are integers of the shape \(2,\), one an example"):
        al.cross_entropy(jnp.zeros((2, 3)), label)
