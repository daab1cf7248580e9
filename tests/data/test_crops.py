"""The standard crops of photographs, against slices and Pillow's own scaling."""

import numpy as np
import pytest
from PIL import Image

from al_jax.data import crops


def photograph(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def draws(flip=0.9, area=1.0, ratio=1.0, across=0.0, down=0.0):
    """The uniform numbers that give a rectangle of so much of the area, and of this ratio."""
    share = (area - crops.AREA[0]) / (crops.AREA[1] - crops.AREA[0])
    low, high = np.log(crops.RATIO)
    return np.array([flip, *[share, (np.log(ratio) - low) / (high - low), across, down] * crops.TRIES])


@pytest.mark.parametrize(("height", "width"), [(256, 300), (300, 256), (256, 256)])
def test_where_nothing_is_scaled_the_central_crop_is_a_slice(height, width):
    image = photograph(height, width)
    top, left = (height - 224) // 2, (width - 224) // 2
    np.testing.assert_array_equal(crops.central(image, 224), image[top : top + 224, left : left + 224])


def test_the_shorter_edge_becomes_an_eighth_longer_than_the_crop():
    image = photograph(20, 45)
    scaled = np.asarray(Image.fromarray(image).resize((36, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(crops.central(image, 14), scaled[1:15, 11:25])


def test_a_random_crop_is_the_rectangle_that_was_drawn():
    image = photograph(32, 32)
    np.testing.assert_array_equal(crops.random_resized(image, 32, draws()), image)
    image = photograph(256, 256)  # large enough to tell the middle of the ratios' logarithms from that of the ratios
    quarter = crops.random_resized(image, 128, draws(area=1 / 4, across=0.25, down=0.5))
    np.testing.assert_array_equal(quarter, image[64:192, 32:160])
    wide = crops.random_resized(photograph(48, 64), 24, draws(area=3 / 16, ratio=4 / 3, across=0.999, down=0.999))
    expected = Image.fromarray(photograph(48, 64)[27:, 36:]).resize((24, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(wide, expected)


def test_half_of_the_random_crops_are_mirrored():
    image = photograph(32, 32)
    np.testing.assert_array_equal(crops.random_resized(image, 32, draws(flip=0.49)), image[:, ::-1])


@pytest.mark.parametrize(("height", "width", "kept"), [(8, 200, (8, 11)), (200, 8, (11, 8))])
def test_where_no_rectangle_fits_it_is_the_largest_in_the_middle(height, width, kept):
    image = photograph(height, width)
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    cut = Image.fromarray(image[top : top + kept[0], left : left + kept[1]])
    expected = cut.resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(crops.random_resized(image, 16, draws()), expected)


def test_areas_and_ratios_are_spread_over_what_is_allowed():
    numbers = np.random.default_rng(0).random((2000, crops.TRIES, 4))
    left, top, width, height = np.array([crops._rectangle(300, 400, own) for own in numbers]).T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + width).max() == 400
    assert (top + height).max() == 300
    area, ratio = width * height / (300 * 400), width / height
    assert 0.078 < area.min() < 0.09
    assert 0.95 < area.max() <= 1
    assert 0.74 < ratio.min() < 0.77
    assert 1.3 < ratio.max() < 1.35
