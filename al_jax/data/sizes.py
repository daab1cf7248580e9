"""What is known of each data set without reading it, so that a run can be planned where its data is not."""

import difflib
from typing import NamedTuple

from al_jax.data.dataset import DataError


class Size(NamedTuple):
    """Of a data set: the shape of an image `(H, W, C)`, how many values a label can take, and training examples."""

    image: tuple[int, int, int]
    classes: int
    examples: int


SIZES = {
    "digits": Size((8, 8, 1), 10, 1_437),
    "mnist": Size((28, 28, 1), 10, 60_000),
    "fashion_mnist": Size((28, 28, 1), 10, 60_000),
    "cifar10": Size((32, 32, 3), 10, 50_000),
    "cifar100": Size((32, 32, 3), 100, 50_000),
    "stl10": Size((96, 96, 3), 10, 5_000),
    "svhn": Size((32, 32, 3), 10, 73_257),
    "imagenet2012": Size((224, 224, 3), 1000, 1_281_167),
    "places365_small": Size((224, 224, 3), 365, 1_803_460),
}


def size_of(name: str) -> Size:
    """The size of a data set.

    Raises:
      DataError: the name is unknown.
    """
    if name not in SIZES and "/" in name:
        raise DataError(
            f"unknown data set {name!r}: data of your own goes through Python, as an al_jax.data.Split(image, label); "
            f"by name there are {', '.join(SIZES)}"
        )
    if name not in SIZES:
        nearest = difflib.get_close_matches(name.lower(), SIZES, n=1, cutoff=0)[0]
        raise DataError(f"unknown data set {name!r} (did you mean {nearest!r}?): choose one of {', '.join(SIZES)}")
    return SIZES[name]
