"""What a network must know of its data, kept beside the checkpoints so that prediction needs no data set."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from al_jax.data import Dataset, half_range, imagenet_channels, in_memory, standardise, subtract_mean, unit_range
from al_jax.data.prepare import Affine
from al_jax.training.config import Config
from al_jax.training.errors import ConfigError, RunError
from al_jax.training.records import read_json, write_json

FACTS = "data.json"


def check_channels(config: Config, channels: int) -> None:
    """Raises `ConfigError` where ImageNet's statistics are asked for grey images."""
    if config.normalisation == "imagenet" and channels == 1:
        raise ConfigError(
            "config.normalisation is 'imagenet', statistics of red, green and blue: choose another for the grey "
            f"images of {config.dataset}"
        )


class DataFacts(NamedTuple):
    """Facts of a data set under a configuration.

    Attributes:
      classes: how many values a label can take.
      image: `(H, W, C)`.
      normalise: what `config.normalisation` makes of the training images.
    """

    classes: int
    image: tuple[int, int, int]
    normalise: Affine

    @classmethod
    def of(cls, config: Config, dataset: Dataset) -> "DataFacts":
        """Measures them on the training examples.

        Raises:
          DataError: a constant channel cannot be standardised.
          ConfigError: ImageNet's statistics are not for grey images.
        """
        check_channels(config, dataset.train.shape[-1])
        normalise = {
            "unit_range": unit_range,
            "half_range": half_range,
            "imagenet": imagenet_channels,
            "subtract_mean": lambda: subtract_mean(in_memory(dataset.train)),
            "standardise": lambda: standardise(in_memory(dataset.train)),
        }[config.normalisation]()
        return cls(dataset.classes, dataset.train.shape, normalise)

    def write(self, workdir: Path) -> None:
        """Puts them into a run's workdir; float32 survives JSON exactly."""
        shift, scale = self.normalise.shift.tolist(), self.normalise.scale.tolist()
        write_json(workdir / FACTS, {"classes": self.classes, "image": self.image, "shift": shift, "scale": scale})

    @classmethod
    def read(cls, workdir: Path) -> "DataFacts":
        """What `write` left.

        Raises:
          RunError: there is no such file, or it is damaged.
        """
        found = read_json(workdir / FACTS)
        try:
            normalise = Affine(*(np.asarray(found[name], np.float32) for name in ("shift", "scale")))
            return cls(found["classes"], tuple(found["image"]), normalise)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{workdir / FACTS} is damaged: the run's own command, given again, writes it anew"
            ) from error
