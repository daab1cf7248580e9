"""From a configuration to what prepares images, and to the engine."""

from collections.abc import Sequence

from al_jax import machines
from al_jax.data import augment, authors, random_crop, random_flip
from al_jax.data.prepare import Prepare
from al_jax.engines import distributed, pipelined, sequential
from al_jax.engines.seeds import over_seeds
from al_jax.training.config import Config
from al_jax.training.errors import ConfigError
from al_jax.training.facts import DataFacts
from al_jax.training.machines import DIFFERENTIABLE_FROM, build_machine
from al_jax.types import Network, Trainer

JITTER = 2  # pixels, as the paper says of its images
CROP_SHARE = 8  # an eighth of the height is padded: the 4 pixels of the authors' CIFAR code


def build_prepare(config: Config, facts: DataFacts) -> Prepare:
    """The function that normalises and augments images inside jit, before component 1."""
    if config.augmentation == "authors":
        return authors(facts.normalise)
    padding = config.padding or facts.image[0] // CROP_SHARE
    augmentations = {
        "none": [],
        "crop": [random_crop(padding)],
        "jitter": [random_crop(JITTER)],
        "crop_flip": [random_crop(padding), random_flip()],
        "reflect_crop_flip": [random_crop(padding, reflect=True), random_flip()],
        "resized_crop": [],  # what reads the images has done it
    }[config.augmentation]
    return augment(facts.normalise, *augmentations) if augmentations else facts.normalise


def build_trainer(
    config: Config, network: Network, optimizer, prepare_images, partition: Sequence[int] | None = None
) -> Trainer:
    """The engine with its devices; `partition` is that of a pipeline, even by default."""
    try:
        devices = distributed.devices(config.devices)
    except ValueError as error:
        raise ConfigError(f"config.devices: {error}") from error
    options = {
        "shards": config.shards,
        "accumulate": config.accumulate,
        "prepare": prepare_images,
        "exact": config.exact,
    }
    if config.num_seeds > 1:
        return over_seeds(network, optimizer, **options)
    if config.engine == "sequential":
        return sequential(network, optimizer, devices, **options)
    return pipelined(
        network,
        optimizer,
        devices,
        data=config.data_parallel,
        partition=partition,
        **options,
    )


def build_machine_trainer(config: Config, facts: DataFacts, optimizer, epoch: int, prepare_images) -> Trainer:
    """The trainer of a learning machine; `epoch` counts the updates in one."""
    machine = build_machine(config, facts, optimizer, epoch)
    differentiable_from = DIFFERENTIABLE_FROM.get(config.rule, 1)
    diagnose = machines.diagnostics(machine, differentiable_from=differentiable_from) if config.diagnose else None
    return machines.trainer(machine, prepare=prepare_images, diagnose=diagnose, seeds=config.num_seeds > 1)
