"""From a configuration to network, optimizer and trainer: the only place where names become functions."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from al_jax import networks, rules
from al_jax.components import freeze
from al_jax.data import augment, authors, random_crop, random_flip
from al_jax.data.prepare import Prepare
from al_jax.engines import pipelined, sequential
from al_jax.engines.seeds import over_seeds
from al_jax.training import config as fields
from al_jax.training.config import Config
from al_jax.training.errors import ConfigError
from al_jax.training.facts import DataFacts
from al_jax.types import Network, Trainer

ACTIVATIONS = {"elu": nn.elu, "relu": nn.relu}
OWN_COMPONENTS = 4  # a resnet's own cuts: the stem and three stages
JITTER = 2  # pixels, as the paper says of its images
CROP_SHARE = 8  # an eighth of the height is padded: the 4 pixels of the authors' CIFAR code


def build_network(config: Config, classes: int) -> Network:
    """The folded network under its learning rule."""
    blocks, dtype = build_blocks(config), _dtype(config)
    layer = functools.partial(rules.CodeLayer, dtype=dtype)
    pool = config.pool if config.bridge == "pooled" else None
    bridge = functools.partial(rules.Bridge, expansion=config.bridge_expansion, dtype=dtype, pool=pool)
    if config.rule == "associated":
        network = rules.associated(
            blocks,
            classes,
            config.code,
            bridge=bridge,
            encoder=layer,
            decoder=layer,
            autoencoder_rate=config.autoencoder_rate,
            l2=config.l2,
        )
    else:
        network = rules.backprop(
            blocks,
            classes,
            config.code,
            bridge=functools.partial(bridge, activation=nn.relu, norm=config.dense_norm),
            decoder=functools.partial(layer, activation=nn.relu, norm=config.dense_norm),
            l2=config.l2,
        )
    return freeze(network, fields.freeze_indices(config))


def build_blocks(config: Config) -> tuple[nn.Module, ...]:
    """The backbone, cut into components.

    Raises:
      ConfigError: the network cannot be cut like that.
    """
    options: dict[str, Any] = {"activation": ACTIVATIONS[config.activation], "dtype": _dtype(config)}
    if config.network == "mlp":
        return networks.mlp([config.width] * config.components, **options)
    options |= {"cuts": fields.cuts_of(config) or config.components, "width": config.width_factor}
    try:
        if config.network == "vanilla_cnn":
            return networks.vanilla_cnn(**options)
        if config.network == "vgg":
            return networks.vgg(norm=config.batch_norm, **options)
        if options["cuts"] == OWN_COMPONENTS:
            options["cuts"] = None
        depth = int(config.network.removeprefix("resnet"))
        return networks.resnet(depth, standard=config.residual == "standard", **options)
    except ValueError as error:
        raise ConfigError(f"{config.network} with config.cuts={config.cuts!r}: {error}") from error


def _dtype(config: Config) -> jnp.dtype | None:
    return None if config.dtype == "float32" else jnp.dtype(config.dtype)


def build_prepare(config: Config, facts: DataFacts) -> Prepare:
    """The function that normalises and augments images inside jit, before component 1."""
    if config.augmentation == "authors":
        return authors(facts.normalise)
    padding = facts.image[0] // CROP_SHARE
    augmentations = {
        "none": [],
        "crop": [random_crop(padding)],
        "jitter": [random_crop(JITTER)],
        "crop_flip": [random_crop(padding), random_flip()],
    }[config.augmentation]
    return augment(facts.normalise, *augmentations) if augmentations else facts.normalise


def build_optimizer(config: Config, updates: int) -> optax.GradientTransformation:
    """The optimizer of every component, its schedule stretched over a run of so many updates."""
    rate = config.learning_rate
    schedule = {
        "constant": lambda: optax.constant_schedule(rate),
        "cosine": lambda: optax.cosine_decay_schedule(rate, updates),
        # The authors' steps: a tenth at 40, 60 and 80 % of the updates, half at 90 %.
        "steps": lambda: optax.piecewise_constant_schedule(
            rate, {int(updates * at): factor for at, factor in ((0.4, 0.1), (0.6, 0.1), (0.8, 0.1), (0.9, 0.5))}
        ),
    }[config.schedule]()
    if config.optimizer == "adam":
        return optax.adam(schedule, eps=config.epsilon)
    return optax.sgd(schedule, momentum=config.optimizer_momentum, nesterov=True)


def build_trainer(config: Config, network: Network, optimizer, prepare_images) -> Trainer:
    """The engine with its devices."""
    if config.devices > len(jax.devices()):
        raise ConfigError(
            f"config.devices is {config.devices}, but there are {len(jax.devices())} {jax.default_backend()} devices"
        )
    devices = jax.devices()[: config.devices]
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
        partition=fields.partition_of(config),
        **options,
    )
