import jax
import numpy as np
import pytest

from al_jax.data import (
    DataError,
    Split,
    augment,
    augment_prepared,
    authors,
    half_range,
    imagenet_channels,
    random_contrast,
    random_crop,
    random_flip,
    standardise,
    standardise_each,
    subtract_mean,
    unit_range,
)

KEY = jax.random.key(0)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)


@pytest.fixture
def train(images):
    return Split(images, np.zeros(len(images), np.int32))


def closed_forms(train):
    """Each way to prepare, with what it says computed by NumPy in float64."""
    unit = train.image / 255
    return [
        (unit_range(), unit),
        (half_range(), (unit - 0.5) / 0.5),
        (imagenet_channels(), (unit - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        (subtract_mean(train), unit - unit.mean(axis=0)),
        (standardise(train), (unit - unit.mean(axis=(0, 1, 2))) / unit.std(axis=(0, 1, 2))),
    ]


def test_normalisations_are_their_closed_forms(train):
    for prepare, expected in closed_forms(train):
        result = prepare(train.image, None, False)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_jit_changes_no_bit(train):
    plain = [prepare for prepare, _ in closed_forms(train)]
    for prepare in [*plain, augment(plain[-1], random_crop(padding=2), random_flip())]:
        eager = prepare(train.image, KEY, True)
        jitted = jax.jit(prepare, static_argnums=2)(train.image, KEY, True)
        np.testing.assert_array_equal(eager, jitted)


def test_the_unit_range_is_closed():
    np.testing.assert_array_equal(unit_range()(np.uint8([[[[0, 255]]]]), None, False), [[[[0, 1]]]])


def test_a_constant_channel_cannot_be_standardised(train):
    train.image[..., 1] = 7
    with pytest.raises(DataError, match="constant"):
        standardise(train)


def test_flat_rows_have_no_channels_to_standardise(train):
    flat = train._replace(image=train.image.reshape(20, -1))
    with pytest.raises(DataError, match=r"takes images \(N, H, W, C\), .* are \(20, 90\): reshape"):
        standardise(flat)
    assert subtract_mean(flat)(flat.image, None, False).shape == (20, 90)


def test_nothing_is_augmented_outside_training(images):
    def fail(image, key):
        raise AssertionError

    np.testing.assert_array_equal(augment(unit_range(), fail)(images, None, False), unit_range()(images, None, False))


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_every_crop_is_a_window_and_every_window_a_crop(images, mode):
    padded = np.pad(images[0], ((1, 1), (1, 1), (0, 0)), mode)
    windows = {padded[row : row + 6, column : column + 5].tobytes() for row in range(3) for column in range(3)}
    crop = random_crop(padding=1, reflect=mode == "reflect")
    crops = np.asarray(jax.vmap(crop, (None, 0))(images[0], jax.random.split(KEY, 200)))
    assert crops.dtype == np.uint8
    assert len(windows) == 9
    assert {crop.tobytes() for crop in crops} == windows


def test_half_of_the_flips_mirror_left_and_right(images):
    flips = np.asarray(jax.vmap(random_flip(), (None, 0))(images[0], jax.random.split(KEY, 1000)))
    assert flips.dtype == np.uint8
    mirrored = (flips == images[0][:, ::-1]).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(mirrored, ~(flips == images[0]).all(axis=(1, 2, 3)))
    assert 450 < mirrored.sum() < 550


def test_augmentations_see_uint8_images_in_the_order_given(images):
    def double(image, key):
        assert image.dtype == np.uint8
        return image * np.uint8(2)

    def increment(image, key):
        return image + np.uint8(1)

    result = augment(unit_range(), double, increment)(images, KEY, True)
    np.testing.assert_array_equal(result, unit_range()(images * np.uint8(2) + np.uint8(1), None, False))


def test_every_example_and_augmentation_has_a_key_of_its_own():
    def draw(image, key):
        return image + jax.random.bits(key, image.shape, np.uint32)

    def widen(image, key, train):
        return image

    blank = np.zeros((50, 1, 1, 1), np.uint32)
    one = np.asarray(augment(widen, draw)(blank, KEY, True))
    two = np.asarray(augment(widen, draw, draw)(blank, KEY, True))
    nested = np.asarray(augment(augment(widen, draw), draw)(blank, KEY, True))
    assert len(np.unique(np.concatenate([one, two - one, nested - one]))) == 150
    np.testing.assert_array_equal(one, augment(widen, draw)(blank, KEY, True))
    assert not (one == augment(widen, draw)(blank, jax.random.key(1), True)).any()


def test_prepared_images_are_augmented_too_and_only_in_training(images):
    def negate(image, key):
        assert image.dtype == np.float32
        return -image

    prepare = augment_prepared(unit_range(), negate)
    np.testing.assert_array_equal(prepare(images, KEY, True), -unit_range()(images, None, False))
    np.testing.assert_array_equal(prepare(images, None, False), unit_range()(images, None, False))


def test_contrast_keeps_the_mean_of_each_channel_and_scales_the_rest(images):
    image = np.asarray(unit_range()(images[:1], None, False))[0]
    result = np.asarray(jax.vmap(random_contrast(0.2, 1.8), (None, 0))(image, jax.random.split(KEY, 500)))
    mean = image.mean((0, 1))
    factors = (result - mean) / (image - mean)
    np.testing.assert_allclose(factors, factors[:, :1, :1, :1] + np.zeros_like(factors), rtol=1e-3)
    drawn = factors[:, 0, 0, 0]
    assert 0.2 <= drawn.min() < 0.3
    assert 1.7 < drawn.max() <= 1.8


def test_each_image_is_standardised_and_a_blank_one_stays_blank(images):
    images[0] = 9
    result = np.asarray(standardise_each(unit_range())(images, None, False))
    np.testing.assert_allclose(result.mean((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(result[1:].std((1, 2, 3)), 1, rtol=1e-5)
    np.testing.assert_allclose(result[0], 0, atol=1e-5)


def test_the_authors_recipe_standardises_each_image_less_the_mean_image(train):
    prepare = authors(subtract_mean(train))
    unit = train.image / 255 - (train.image / 255).mean(0)
    expected = (unit - unit.mean((1, 2, 3), keepdims=True)) / unit.std((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(prepare(train.image, None, False), expected, rtol=1e-4, atol=1e-5)
    altered = np.asarray(prepare(train.image, KEY, True))
    np.testing.assert_allclose(altered.mean((1, 2, 3)), 0, atol=1e-5)
    assert np.abs(altered - expected).max() > 0.1


def test_the_authors_recipe_crops_mirrors_and_changes_the_contrast():
    """Read off a bright pixel with a darker one to its right, in the second channel; the first one is black."""
    image, number = np.zeros((1, 12, 12, 2), np.uint8), 2000
    image[0, 5, 5:7, 1] = 255, 51
    altered = np.asarray(authors(unit_range())(np.repeat(image, number, 0), KEY, True), np.float64)
    dark, spot = np.moveaxis(altered, 3, 0)
    row, column = np.divmod(spot.reshape(number, -1).argmax(1), 12)
    every = np.arange(number)
    mirrored = spot[every, row, column - 1] > spot[every, row, column + 1]
    assert 0.45 < mirrored.mean() < 0.55
    for places in (row, column[~mirrored], 11 - column[mirrored]):
        assert set(places) == set(range(1, 10))  # a border of 4 pixels
    # Contrast keeps the mean, and the standardisation scales both differences alike.
    range_, mean = spot.max((1, 2)) - spot.min((1, 2)), spot.mean((1, 2)) - dark.mean((1, 2))
    factors = range_ / mean * (255 + 51) / 255 / 144
    assert 0.199 < factors.min() < 0.21
    assert 1.79 < factors.max() < 1.801
