import jax.numpy as jnp
import numpy as np
import pytest

import al_jax as al
from al_jax.losses import one_hot


def test_mean_squared_error_is_a_mean_over_examples_and_units():
    assert al.mean_squared_error(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[1.0, 0.0], [0.0, 4.0]])) == 13 / 4


def test_mean_squared_error_refuses_to_broadcast():
    with pytest.raises(ValueError, match=r"\(2, 1\) is not the target's \(2, 3\)"):
        al.mean_squared_error(jnp.zeros((2, 1)), jnp.zeros((2, 3)))


def test_cross_entropy_is_the_mean_negative_log_probability():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], np.float32)
    scores = np.log(probabilities) + np.array([[5.0], [-7.0]], np.float32)  # a shift of all scores changes nothing
    loss = al.cross_entropy(jnp.asarray(scores), jnp.array([2, 1]))
    np.testing.assert_allclose(loss, -(np.log(0.2) + np.log(0.8)) / 2, rtol=1e-5)


@pytest.mark.parametrize("loss", [al.mean_squared_error, lambda p, t: al.cross_entropy(p, t[:, 0].astype(jnp.int32))])
def test_losses_are_float32_whatever_the_network_computes_in(loss):
    half = jnp.ones((2, 3), jnp.bfloat16)
    assert loss(half, half).dtype == jnp.float32


def test_labels_of_no_class_make_the_loss_nan():
    scores = jnp.zeros((2, 3))
    assert [bool(jnp.isnan(al.cross_entropy(scores, jnp.array([0, label])))) for label in (2, 3, -1)] == [0, 1, 1]
    assert jnp.isnan(one_hot(jnp.array([0, 3, -1]), 3)).all(1).tolist() == [False, True, True]


@pytest.mark.parametrize("label", [jnp.zeros(2), jnp.zeros((2, 1), jnp.int32), jnp.zeros(1, jnp.int32)])
def test_labels_are_one_integer_an_example(label):
    with pytest.raises(ValueError, match=r"labels are integers of the shape \(2,\), one an example"):
        al.cross_entropy(jnp.zeros((2, 3)), label)
