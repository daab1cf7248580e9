"""Accuracy by depth, with ties, NaN and a last batch that is not full."""

import jax.numpy as jnp
import numpy as np
import pytest

import al_jax as al
from al_jax.data import Split
from al_jax.training.evaluation import BATCH, Accuracy, make_evaluate
from al_jax.training.summary import _averaged


def network_that_scores(*scores_by_depth):
    """A network whose first k components give fixed scores, looked up by the image's only pixel."""

    def predict(variables, images, depth=None):
        return jnp.asarray(scores_by_depth[depth - 1])[images[:, 0, 0, 0].astype(int)]

    nothing = al.Component(None, None, None, {}, "nothing")
    return al.compose([nothing] * len(scores_by_depth), predict)


def split_of(labels):
    image = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Split(image, np.asarray(labels, np.int32))


def test_ties_go_to_the_first_class_and_nan_is_wrong():
    scores = np.array([[1.0, 1.0], [1.0, 1.0], [np.nan, 2.0], [0.0, 3.0]], np.float32)
    accuracy = make_evaluate(network_that_scores(scores))([], split_of([0, 1, 1, 1]))
    assert accuracy.by_depth == (0.5,)


def test_each_depth_and_top_five_are_counted():
    descending = np.tile(np.arange(12, 0, -1, dtype=np.float32), (3, 1))
    accuracy = make_evaluate(network_that_scores(descending, descending[:, ::-1]))([], split_of([0, 4, 11]))
    assert accuracy.by_depth == (1 / 3, 1 / 3)
    assert accuracy.top5_by_depth == (2 / 3, 1 / 3)
    assert accuracy.full == 1 / 3


def test_the_top_five_are_named_where_there_are_more_than_ten_classes():
    accuracy = Accuracy((0.25, 0.5), (0.75, 1.0))
    assert accuracy.named("test", 10) == {"test_accuracy": 0.5}
    assert accuracy.named("validation", 11) == {"validation_accuracy": 0.5, "validation_top5_accuracy": 1.0}


def test_seeds_are_averaged_by_name_and_by_depth():
    seeds = [
        {"seed": seed, "test_top5_accuracy": share, "top5_accuracy_by_depth": [0.0, share], "digest": ""}
        for seed, share in enumerate((0.25, 0.75))
    ]
    assert _averaged(seeds) == {
        "seeds": seeds,
        "test_top5_accuracy": 0.5,
        "test_top5_accuracy_std": pytest.approx(0.125**0.5),
        "top5_accuracy_by_depth": [0.0, 0.5],
    }


def test_the_last_batch_need_not_be_full():
    number = BATCH + 7
    split = Split(np.zeros((number, 1, 1, 1), np.uint8), np.zeros(number, np.int32))
    split.label[1:4] = 1  # not the first, with which the last batch is filled up
    calls = []
    evaluate = make_evaluate(network_that_scores(np.array([[1.0, 0.0]], np.float32)))
    assert evaluate([], split, lambda: calls.append(0)).full == (number - 3) / number
    assert len(calls) == 2  # batches, so that an evaluation may take longer than a step
