"""Random changes of training images, on the device and inside jit, each image with keys of its own.

An `Augmentation` is `(image, key) -> image` on one image `(H, W, C)` and keeps its shape and dtype.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from al_jax.data.prepare import Prepare

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]


def augment(prepare: Prepare, *augmentations: Augmentation) -> Prepare:
    """Alters training images, in the order given, before `prepare` sees them: uint8 ones.

    Outside training none is applied and no key needed.

    Examples:
      >>> import numpy as np
      >>> from al_jax.data import unit_range
      >>> prepare = augment(unit_range(), random_crop(padding=4), random_flip())
      >>> prepare(np.zeros((2, 32, 32, 3), np.uint8), jax.random.key(0), True).shape
      (2, 32, 32, 3)
    """

    def augmented(image, key, train):
        if not train:
            return prepare(image, key, train)
        key, rest = jax.random.split(key)
        return prepare(_alter(augmentations, image, key), rest, train)

    return augmented


def augment_prepared(prepare: Prepare, *augmentations: Augmentation) -> Prepare:
    """Alters training images, in the order given, after `prepare`: float32 ones."""

    def augmented(image, key, train):
        if not train:
            return prepare(image, key, train)
        key, rest = jax.random.split(key)
        return _alter(augmentations, prepare(image, rest, train), key)

    return augmented


def standardise_each(prepare: Prepare) -> Prepare:
    """Shifts and scales each prepared image to mean 0 and standard deviation 1, as TensorFlow does.

    The deviation counts as at least 1 / sqrt(elements of the image), so that a blank image stays blank.
    """

    def standardised(image, key, train):
        image = prepare(image, key, train)
        axes = (1, 2, 3)
        centred = image - image.mean(axes, keepdims=True)
        deviation = jnp.sqrt(jnp.square(centred).mean(axes, keepdims=True))
        return centred / jnp.maximum(deviation, image[0].size ** -0.5)

    return standardised


def authors(normalise: Prepare) -> Prepare:
    """What the authors of Associated Learning do to CIFAR images, after `normalise`, which is `subtract_mean` there.

    Training images are cropped out of a border of 4 pixels, mirrored, and changed in contrast; then each image is
    standardised. Their random brightness is left out: it shifts an image as a whole, and the standardisation takes the
    shift away again.
    """
    return standardise_each(augment_prepared(normalise, random_crop(4), random_flip(), random_contrast(0.2, 1.8)))


def random_crop(padding: int, *, reflect: bool = False) -> Augmentation:
    """Surrounds an image with `padding` pixels and cuts its size out at a uniformly drawn place.

    Args:
      padding: the width of the border.
      reflect: whether it mirrors what is inside, without repeating the outermost pixels; else it is zero.
    """

    def crop(image, key):
        border = ((padding, padding), (padding, padding), (0, 0))
        padded = jnp.pad(image, border, mode="reflect" if reflect else "constant")
        row, column = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)

    return crop


def random_flip() -> Augmentation:
    """Mirrors an image left to right in one case of two."""
    return lambda image, key: jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def random_contrast(lower: float, upper: float) -> Augmentation:
    """Multiplies what differs from each channel's mean by a factor drawn uniformly, one for the image; for floats."""

    def contrast(image, key):
        mean = image.mean((0, 1), keepdims=True)
        return mean + (image - mean) * jax.random.uniform(key, minval=lower, maxval=upper)

    return contrast


def _alter(augmentations: Sequence[Augmentation], images: jax.Array, key: jax.Array) -> jax.Array:
    def alter(image, key):
        keys = jax.random.split(key, len(augmentations))
        for augmentation, own_key in zip(augmentations, keys, strict=True):
            image = augmentation(image, own_key)
        return image

    return jax.vmap(alter)(images, jax.random.split(key, len(images)))
