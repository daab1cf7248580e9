"""The standard crops of photographs of any size, on the host; `side` is the height and width of what comes out.

Pillow is imported where it is used: whoever lacks it is told so when images are to be decoded.
"""

import math

import numpy as np

AREA = (0.08, 1.0)  # of the photograph, of a random crop
RATIO = (3 / 4, 4 / 3)  # width by height
TRIES = 10
DRAWS = 4 * TRIES + 1  # uniform numbers that `random_resized` uses


def central(image: np.ndarray, side: int) -> np.ndarray:
    """Scales the shorter edge to 8/7 of `side`, 256 for 224, and cuts the middle out.

    Args:
      image: uint8 `(h, w, 3)`.

    Returns:
      uint8 `(side, side, 3)`.
    """
    from PIL import Image

    height, width = image.shape[:2]
    edge = round(side * 8 / 7)
    short = min(height, width)
    size = (edge * width // short, edge * height // short)
    left, top = ((length - side) // 2 for length in size)
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR).crop(box))


def random_resized(image: np.ndarray, side: int, draws: np.ndarray) -> np.ndarray:
    """Cuts a rectangle of random place, area and proportions out, scales it to a square, and mirrors half of them.

    Area and logarithm of the ratio are uniform over `AREA` and `RATIO`. A rectangle that sticks out is drawn again;
    after `TRIES` it is the largest one in the middle whose ratio is allowed.

    Args:
      image: uint8 `(h, w, 3)`.
      draws: uniform in [0, 1), `(DRAWS,)`.

    Returns:
      uint8 `(side, side, 3)`.
    """
    from PIL import Image

    left, top, width, height = _rectangle(image.shape[0], image.shape[1], draws[1:].reshape(TRIES, 4))
    cut = Image.fromarray(image[top : top + height, left : left + width])
    scaled = np.asarray(cut.resize((side, side), Image.Resampling.BILINEAR))
    return scaled[:, ::-1] if draws[0] < 0.5 else scaled


def _rectangle(height: int, width: int, draws: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width and height."""
    low, high = (math.log(ratio) for ratio in RATIO)
    for area, ratio, across, down in draws.tolist():
        pixels = height * width * (AREA[0] + (AREA[1] - AREA[0]) * area)
        ratio = math.exp(low + (high - low) * ratio)
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(across * (width - w + 1)), int(down * (height - h + 1)), w, h
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    return (width - w) // 2, (height - h) // 2, w, h
