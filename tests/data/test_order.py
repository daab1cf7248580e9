import numpy as np
import pytest

from al_jax.data import DataError, Split, drawn, epoch_order, gather, validation_split


def numbered(examples):
    """A split whose images and labels tell which example they belong to."""
    label = np.arange(examples, dtype=np.int32)
    return Split(label.astype(np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8), label)


def test_an_epoch_is_a_permutation_in_batches():
    order = epoch_order(seed=3, epoch=1, examples=60, batch_size=12)
    assert order.shape == (5, 12)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order, axis=None), np.arange(60))


def test_the_order_is_pinned():
    np.testing.assert_array_equal(epoch_order(seed=0, epoch=0, examples=10, batch_size=4), [[6, 3, 8, 1], [4, 5, 9, 2]])
    np.testing.assert_array_equal(
        epoch_order(seed=2**32, epoch=7, examples=10, batch_size=4), [[4, 0, 9, 2], [5, 3, 8, 1]]
    )


def test_seed_and_epoch_each_change_the_order():
    # 2**32 takes two words of the seed sequence and must not run into the epoch.
    orders = {epoch_order(seed, epoch, 50, 50).tobytes() for seed in (0, 1, 2**32) for epoch in range(4)}
    assert len(orders) == 12


def test_the_remainder_differs_between_epochs():
    epochs = [epoch_order(seed=0, epoch=epoch, examples=10, batch_size=4) for epoch in range(8)]
    assert {order.shape for order in epochs} == {(2, 4)}
    assert len({frozenset(order.flat) for order in epochs}) > 1


@pytest.mark.parametrize("batch_size", [0, -1, 11])
def test_a_batch_that_cannot_be_filled(batch_size):
    with pytest.raises(DataError, match=rf"batch_size is {batch_size}: choose one from 1 to 10"):
        epoch_order(seed=0, epoch=0, examples=10, batch_size=batch_size)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed is -1: it must be 0 or more"),
        ({"epoch": -1}, "epoch is -1: it must be 0 or more"),
        ({"batch_size": 2.5}, "batch_size is 2.5: it must be a whole number"),
    ],
)
def test_numbers_that_make_no_order(wrong, message):
    with pytest.raises(ValueError, match=message):
        epoch_order(**{"seed": 0, "epoch": 0, "examples": 10, "batch_size": 4, **wrong})


@pytest.mark.parametrize("examples", [numbered(4)._asdict(), tuple(numbered(4))], ids=("dict", "tuple"))
def test_what_are_no_examples_is_not_gathered(examples):
    with pytest.raises(
        DataError, match=r"takes examples, not a (dict|tuple): give an al_jax.data.Split\(image, label\)"
    ):
        gather(examples, np.arange(2))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 1, 3)])
def test_gather_keeps_the_shape_of_the_indices(shape):
    split = numbered(20)
    indices = np.random.default_rng(0).integers(0, 20, shape)
    batch = gather(split, indices)
    assert batch["image"].shape == (*shape, 2, 3, 1)
    assert batch["image"].dtype == np.uint8
    np.testing.assert_array_equal(batch["label"], indices)
    np.testing.assert_array_equal(batch["image"][..., 0, 0, 0], indices)


def test_validation_split_divides_the_training_split():
    train, validation = validation_split(numbered(50), 8)
    assert validation.image.shape == (8, 2, 3, 1)
    assert train.image.shape == (42, 2, 3, 1)
    np.testing.assert_array_equal(np.sort(np.concatenate([train.label, validation.label])), np.arange(50))
    for part in (train, validation):
        np.testing.assert_array_equal(part.image[:, 0, 0, 0], part.label)


def test_validation_split_is_pinned():
    _, validation = validation_split(numbered(50), 8)
    np.testing.assert_array_equal(validation.label, [17, 46, 36, 6, 43, 11, 14, 3])


def test_the_examples_that_are_drawn_are_pinned():
    np.testing.assert_array_equal(drawn(numbered(50), 8).label, [17, 46, 36, 6, 43, 11, 14, 3])


@pytest.mark.parametrize("examples", [-1, 0, 50, 51])
def test_validation_split_leaves_neither_part_empty(examples):
    with pytest.raises(DataError, match="choose from 1 to 49"):
        validation_split(numbered(50), examples)
