"""Examples read from disk: the order of those in memory, and crops by nothing but seed, epoch and example."""

import dataclasses
import io
import os
import sys
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from processes import BOUND

from al_jax.data import DataError, Split, Stream, crops, epoch_order, gather, load, validation_split
from al_jax.data.stream import _draws

pytest.importorskip("grain")
EXAMPLES, SIDE = 60, 16


class Photographs:
    """Random images of many sizes, whose labels are their numbers."""

    def __len__(self):
        return EXAMPLES

    def __getitem__(self, number):
        image = np.random.default_rng(number).integers(0, 256, (20 + number % 7, 18 + number % 5, 3), dtype=np.uint8)
        return {"image": image, "label": number}


@pytest.fixture
def stream():
    return dataclasses.replace(Stream.of("photographs", Photographs()), side=SIDE)


@pytest.fixture
def split():
    """The same examples in memory, cut out of the middle."""
    images = [crops.central(Photographs()[number]["image"], SIDE) for number in range(EXAMPLES)]
    return Split(np.stack(images), np.arange(EXAMPLES, dtype=np.int32))


def assert_same_batches(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"], strict=True)
        np.testing.assert_array_equal(one["label"], other["label"], strict=True)


@pytest.mark.parametrize("shape", [(5, 12), (5, 3, 4), (5, 2, 3, 2)])
def test_the_order_is_that_of_data_in_memory(stream, split, shape):
    indices = epoch_order(seed=3, epoch=1, examples=EXAMPLES, batch_size=12).reshape(shape)
    assert_same_batches(stream.batches(indices), split.batches(indices))
    assert (stream.examples, stream.shape) == (split.examples, split.shape)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_gather(stream, split, shape):
    indices = np.random.default_rng(0).integers(0, EXAMPLES, shape)
    assert_same_batches([gather(stream, indices)], [gather(split, indices)])


def test_parts_are_those_of_data_in_memory(stream, split):
    indices = np.arange(12).reshape(3, 4)
    for part, other in zip(validation_split(stream, 15), validation_split(split, 15), strict=True):
        assert_same_batches(part.batches(indices), other.batches(indices))


def test_crops_are_the_same_however_the_epoch_is_cut_into_batches(stream):
    order = epoch_order(seed=3, epoch=1, examples=EXAMPLES, batch_size=12)
    whole = next(stream.batches(order.reshape(1, -1), np.array([3]), epoch=1))
    later = list(stream.batches(order[2:], np.array([3]), epoch=1))
    np.testing.assert_array_equal(np.concatenate([batch["image"] for batch in later]), whole["image"][24:])


def test_seed_and_epoch_each_change_the_crops(stream):
    def images(seed, epoch):
        return next(stream.batches(np.arange(8)[None], np.array([seed]), epoch))["image"]

    drawn = [images(seed, epoch) for seed in (0, 1, 2**32) for epoch in (0, 1)]
    assert len({image.tobytes() for batch in drawn for image in batch}) == 48
    np.testing.assert_array_equal(images(1, 1), drawn[3])


def test_each_of_several_seeds_has_the_crops_it_has_alone(stream):
    order = np.stack([epoch_order(seed, 0, EXAMPLES, 12) for seed in (4, 5)], axis=1)
    together = stream.batches(order, np.array([[4], [5]]))
    alone = zip(*(stream.batches(order[:, row], np.array([seed])) for row, seed in enumerate((4, 5))), strict=True)
    for both, (first, second) in zip(together, alone, strict=True):
        np.testing.assert_array_equal(both["image"], np.stack([first["image"], second["image"]]))


def test_the_draws_are_pinned():
    drawn = _draws(seed=7, epoch=2, row=3)
    assert drawn.shape == (crops.DRAWS,)
    np.testing.assert_array_equal(np.floor(1000 * drawn[:4]), [567, 644, 481, 504])


def test_examples_are_read_ahead_and_no_further_than_one_batch(stream):
    asked, second = set(), threading.Event()

    class Noted(Photographs):
        def __getitem__(self, number):
            asked.add(number)
            if number == 7:
                second.set()
            return super().__getitem__(number)

    batches = dataclasses.replace(stream, source=Noted()).batches(np.arange(EXAMPLES).reshape(-1, 4))
    next(batches)
    assert second.wait(BOUND)
    assert max(asked) < 4 + max(4, os.cpu_count())
    batches.close()


def test_an_example_that_cannot_be_read_is_named(stream):
    class Damaged(Photographs):
        def __getitem__(self, number):
            raise OSError("image file is truncated\nwith details")

    with pytest.raises(DataError, match=r"^example 3 of photographs cannot be read \(OSError: image file is truncated"):
        gather(dataclasses.replace(stream, source=Damaged()), np.array([3]))


# ---- Through TensorFlow Datasets.


def prepare(monkeypatch, data_dir, labels):
    """An ImageNet of these labels, and what TFDS calls its test, which must not be used."""

    def examples(name):
        for number, label in enumerate(labels[name]):
            file = io.BytesIO()
            Image.fromarray(np.full((300 + number, 260, 3), label % 256, np.uint8)).save(file, "jpeg")
            file.seek(0)
            yield number, {"image": file, "label": label, "file_name": f"{number}.jpeg"}

    monkeypatch.setattr(
        tfds.builder_cls("imagenet2012"), "_split_generators", lambda self, manager: {n: examples(n) for n in labels}
    )
    tfds.builder("imagenet2012", data_dir=str(data_dir), file_format="array_record").download_and_prepare()


def test_imagenet_is_opened_and_tested_on_what_it_calls_validation(monkeypatch, tmp_path):
    prepare(monkeypatch, tmp_path, {"train": [5, 700, 999], "validation": [1, 2], "test": [-1] * 4})
    dataset = load("imagenet2012", tmp_path)
    assert (dataset.name, dataset.classes) == ("imagenet2012", 1000)
    assert (dataset.train.examples, dataset.test.examples) == (3, 2)
    for split, labels in ((dataset.train, [5, 700, 999]), (dataset.test, [1, 2])):
        batch = gather(split, np.arange(split.examples))
        assert batch["image"].shape == (split.examples, 224, 224, 3)
        assert sorted(batch["label"]) == labels
        assert np.abs(batch["image"][:, 0, 0, 0].astype(int) - batch["label"] % 256).max() <= 1  # of the JPEG
    assert not (tmp_path / "al_jax").exists()


def test_not_prepared_and_no_tensorflow(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(DataError, match=r'imagenet2012 is not prepared: run `pip install "al_jax\[tfds\]"`'):
        load("imagenet2012", tmp_path)


def test_grain_is_missing(monkeypatch, tmp_path):
    prepare(monkeypatch, tmp_path, {"train": [1], "validation": [1]})
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(DataError, match=r'read from disk through grain: run `pip install "al_jax\[stream\]"`$'):
        load("imagenet2012", tmp_path)
