import errno
import hashlib
import io
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from al_jax.data import DataError, Dataset, Split, cache, load

GREY, COLOUR = (28, 28, 1), (32, 32, 3)
SHAPES = {"mnist": GREY, "fashion_mnist": GREY, "cifar10": COLOUR, "cifar100": COLOUR, "svhn": COLOUR} | {
    "stl10": (96, 96, 3)
}
CLASSES = dict.fromkeys(SHAPES, 10) | {"cifar100": 100}
TFDS_NAMES = {name: name for name in SHAPES} | {"svhn": "svhn_cropped"}

REAL_COUNTS = [
    (
        "mnist",
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ),
    ("fashion_mnist", [6000] * 10, [1000] * 10),
    ("cifar10", [5000] * 10, [1000] * 10),
    (
        "svhn",
        [4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659],
        [1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595],
    ),
    ("stl10", [500] * 10, [800] * 10),
]


def random_dataset(name):
    draw = np.random.default_rng(0)

    def split(examples):
        image = draw.integers(0, 256, (examples, *SHAPES[name]), dtype=np.uint8)
        return Split(image, draw.integers(0, CLASSES[name], examples, dtype=np.int32))

    return Dataset(name, split(5), split(3), CLASSES[name])


def tfds_examples(split, features):
    """A split as the generator of a TFDS builder hands it over, files read and images compressed."""
    for number, (image, label) in enumerate(zip(split.image, split.label, strict=True)):
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, "png")
        file.seek(0)
        example = {"image": file, "label": label, "coarse_label": 0, "id": str(number)}
        yield number, {key: example[key] for key in features}


def offer_for_download(monkeypatch, dataset):
    """Lets TFDS prepare this data set instead of what it would download."""

    def split_generators(builder, download_manager):
        splits = {"train": dataset.train, "test": dataset.test, "extra": dataset.train, "unlabelled": dataset.train}
        return {name: tfds_examples(split, builder.info.features) for name, split in splits.items()}

    monkeypatch.setattr(tfds.builder_cls(TFDS_NAMES[dataset.name]), "_split_generators", split_generators)


def prepare(monkeypatch, dataset, data_dir):
    offer_for_download(monkeypatch, dataset)
    tfds.builder(TFDS_NAMES[dataset.name], data_dir=str(data_dir), file_format="array_record").download_and_prepare()


@pytest.fixture
def mnist(monkeypatch, tmp_path):
    """A tiny MNIST, prepared in `tmp_path`."""
    dataset = random_dataset("mnist")
    prepare(monkeypatch, dataset, tmp_path)
    return dataset


def assert_same_examples(actual, expected):
    """Equality up to the order of the examples: TFDS shuffles them when it prepares them."""
    assert (actual.name, actual.classes) == (expected.name, expected.classes)
    for actual_split, expected_split in ((actual.train, expected.train), (actual.test, expected.test)):
        assert actual_split.image.dtype == np.uint8
        assert actual_split.label.dtype == np.int32
        assert actual_split.image.shape == expected_split.image.shape
        assert sorted(examples(actual_split)) == sorted(examples(expected_split))


def assert_identical(actual, expected):
    assert (actual.name, actual.classes) == (expected.name, expected.classes)
    for actual_split, expected_split in ((actual.train, expected.train), (actual.test, expected.test)):
        np.testing.assert_array_equal(actual_split.image, expected_split.image, strict=True)
        np.testing.assert_array_equal(actual_split.label, expected_split.label, strict=True)


def examples(split):
    return [(image.tobytes(), int(label)) for image, label in zip(split.image, split.label, strict=True)]


def checksum(split):
    return hashlib.sha256(split.image.tobytes() + split.label.astype("<i4").tobytes()).hexdigest()


def data_error(name, data_dir):
    """The message with which loading fails, one sentence on one line."""
    with pytest.raises(DataError) as caught:
        load(name, data_dir)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_digits():
    digits = load("digits")
    assert (digits.name, digits.classes) == ("digits", 10)
    assert digits.train.image.shape == (1437, 8, 8, 1)
    assert digits.test.image.shape == (360, 8, 8, 1)
    for split in (digits.train, digits.test):
        assert split.image.dtype == np.uint8
        assert split.label.dtype == np.int32
        # Seventeen intensities: 0, 16, 32, ..., 255.
        np.testing.assert_array_equal(np.unique(split.image), np.rint(np.arange(17) * 255 / 16))
    np.testing.assert_array_equal(np.bincount(digits.test.label), [36] * 10)
    np.testing.assert_array_equal(np.bincount(digits.train.label), [142, 146, 141, 147, 145, 146, 145, 143, 138, 144])


def test_digits_are_divided_the_same_way_everywhere():
    digits = load("digits")
    assert checksum(digits.train) == "d636977c9c04eb856914edd499bed5cc6101badcdb45ebe6779f6c274363132a"
    assert checksum(digits.test) == "cf805e99e559bb4763981c82d0118c25011b1c9ef347263c3b90eb5d1534eb10"


def test_no_digit_is_in_both_splits():
    digits = load("digits")
    assert not set(examples(digits.train)) & set(examples(digits.test))


@pytest.mark.parametrize("name", SHAPES)
def test_prepared_data_is_read(monkeypatch, tmp_path, name):
    dataset = random_dataset(name)
    prepare(monkeypatch, dataset, tmp_path)
    assert_same_examples(load(name, tmp_path), dataset)


def test_the_second_load_needs_the_cache_alone(mnist, tmp_path):
    first = load("mnist", tmp_path)
    shutil.rmtree(tmp_path / "mnist")
    assert_identical(load("mnist", str(tmp_path)), first)
    assert os.listdir(tmp_path / "al_jax") == ["mnist.npz"]
    with np.load(tmp_path / "al_jax" / "mnist.npz") as arrays:
        np.testing.assert_array_equal(arrays["train_image"], first.train.image)


def test_the_default_folder_is_that_of_tfds(mnist, monkeypatch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / "tensorflow_datasets").symlink_to(tmp_path)
    assert_same_examples(load("mnist"), mnist)


def test_a_flipped_bit_anywhere_in_the_cache_is_noticed(tmp_path):
    path = tmp_path / "al_jax" / "mnist.npz"
    cache.write(path, random_dataset("mnist"))
    intact = path.read_bytes()
    for position in range(0, len(intact), 7):
        damaged = bytearray(intact)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        message = data_error("mnist", tmp_path)
    assert str(path) in message
    assert "delete it and run again" in message


@pytest.mark.parametrize("left", [0, 1, 31, 32, 33, 4000, -1])
def test_a_truncated_cache_is_noticed(tmp_path, left):
    path = tmp_path / "al_jax" / "mnist.npz"
    cache.write(path, random_dataset("mnist"))
    path.write_bytes(path.read_bytes()[:left])
    assert "delete it and run again" in data_error("mnist", tmp_path)


def test_a_folder_that_cannot_be_made_only_costs_the_cache(mnist, tmp_path, caplog):
    (tmp_path / "al_jax").write_text("a file in the way")
    assert_same_examples(load("mnist", tmp_path), mnist)
    assert [record.levelname for record in caplog.records if "is not cached" in record.message] == ["WARNING"]


def test_a_full_disk_only_costs_the_cache(mnist, monkeypatch, tmp_path, caplog):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert_same_examples(load("mnist", tmp_path), mnist)
    assert [record.levelname for record in caplog.records if "is not cached" in record.message] == ["WARNING"]
    assert os.listdir(tmp_path / "al_jax") == []


def test_the_cache_is_whole_while_others_write_it(tmp_path):
    path = tmp_path / "al_jax" / "mnist.npz"
    dataset = random_dataset("mnist")
    cache.write(path, dataset)
    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(cache.write, path, dataset) for _ in range(20)]
        for _ in range(20):
            assert_identical(load("mnist", tmp_path), dataset)
        for one in writing:
            one.result()
    assert os.listdir(path.parent) == ["mnist.npz"]


@pytest.mark.parametrize(
    ("name", "nearest"), [("fashion-mnist", "fashion_mnist"), ("CIFAR10", "cifar10"), ("imagenet", "imagenet2012")]
)
def test_an_unknown_name(name, nearest):
    message = data_error(name, None)
    assert f"did you mean '{nearest}" in message
    assert "digits, mnist, fashion_mnist, cifar10, cifar100, stl10, svhn, imagenet2012" in message


def test_a_file_of_ones_own():
    message = data_error("/x/my.npz", None)
    assert "did you mean" not in message
    assert "'/x/my.npz': data of your own goes through Python, as an al_jax.data.Split(image, label)" in message


def test_pillow_is_missing(mnist, monkeypatch, tmp_path):
    monkeypatch.setattr("tensorflow_datasets.core.features.image_feature.PIL_Image", None)
    monkeypatch.setattr("tensorflow_datasets.core.features.image_feature.cv2", None)
    assert "pip install pillow" in data_error("mnist", tmp_path)


def test_without_pillow_what_needs_none_is_read():
    """In a process of its own, which has not imported it before."""
    code = "import sys; sys.modules['PIL'] = None; from al_jax.data import load; load('digits')"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_not_prepared_and_no_tensorflow(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    message = data_error("mnist", tmp_path)
    assert 'pip install "al_jax[tfds]"' in message
    assert str(tmp_path / "mnist" / "3.0.1") in message


@pytest.fixture
def tensorflow(monkeypatch, tmp_path_factory):
    """Makes TensorFlow look installed."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "tensorflow.py").write_text("raise ImportError('only looks installed')")
    monkeypatch.syspath_prepend(folder)


@pytest.mark.usefixtures("tensorflow")
def test_what_is_not_prepared_is_downloaded(monkeypatch, tmp_path):
    dataset = random_dataset("mnist")
    offer_for_download(monkeypatch, dataset)
    assert_same_examples(load("mnist", tmp_path), dataset)


@pytest.mark.usefixtures("tensorflow")
def test_no_network(monkeypatch, tmp_path):
    def unreachable(builder, download_manager):
        raise ConnectionError("Max retries exceeded\nwith many details")

    monkeypatch.setattr(tfds.builder_cls("mnist"), "_split_generators", unreachable)
    message = data_error("mnist", tmp_path)
    assert "could not be downloaded and prepared (ConnectionError: Max retries exceeded)" in message
    assert str(tmp_path / "mnist" / "3.0.1") in message


@pytest.mark.parametrize("file", ["dataset_info.json", "mnist-test.array_record-00000-of-00001"])
def test_damaged_prepared_data(mnist, tmp_path, file):
    path = tmp_path / "mnist" / "3.0.1" / file
    path.write_bytes(path.read_bytes()[:-100])
    message = data_error("mnist", tmp_path)
    assert f"{tmp_path / 'mnist'} does not hold intact array_record data" in message
    assert "choose another data_dir" in message
    assert not (tmp_path / "al_jax").exists()


def test_prepared_in_another_format(mnist, tmp_path):
    path = tmp_path / "mnist" / "3.0.1" / "dataset_info.json"
    path.write_text(path.read_text().replace("array_record", "tfrecord"))
    assert "choose another data_dir" in data_error("mnist", tmp_path)


@pytest.mark.parametrize(("name", "train_counts", "test_counts"), REAL_COUNTS)
def test_the_real_data(tmp_path, name, train_counts, test_counts):
    prepared = Path(os.environ.get("AL_JAX_DATA", "")) / TFDS_NAMES[name]
    if "AL_JAX_DATA" not in os.environ or not prepared.is_dir():
        pytest.skip(f"needs {name} prepared by TFDS in the folder that AL_JAX_DATA names")
    (tmp_path / prepared.name).symlink_to(prepared.resolve())  # so that the cache is written elsewhere
    dataset = load(name, tmp_path)
    assert dataset.train.image.shape[1:] == dataset.test.image.shape[1:] == SHAPES[name]
    np.testing.assert_array_equal(np.bincount(dataset.train.label), train_counts)
    np.testing.assert_array_equal(np.bincount(dataset.test.label), test_counts)
