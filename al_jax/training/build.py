"""From a configuration to network, optimizer and trainer: the only place where names become functions."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax import networks, rules
from al_jax.components import freeze
from al_jax.data import augment, authors, random_crop, random_flip
from al_jax.data.prepare import Prepare
from al_jax.engines import pipelined, sequential
from al_jax.engines.seeds import over_seeds
from al_jax.rules.parts import PartFactory
from al_jax.training import config as fields
from al_jax.training.config import Config
from al_jax.training.errors import ConfigError
from al_jax.training.facts import DataFacts
from al_jax.types import Network, Trainer

ACTIVATIONS = {"elu": nn.elu, "relu": nn.relu}
OWN_COMPONENTS = 4  # a resnet's own cuts: the stem and three stages
DENSE_UNITS = 1024  # of each dense layer of a vgg
JITTER = 2  # pixels, as the paper says of its images
CROP_SHARE = 8  # an eighth of the height is padded: the 4 pixels of the authors' CIFAR code


def build_network(config: Config, classes: int) -> Network:
    """The folded network under its learning rule.

    Raises:
      ConfigError: the network cannot be cut as the configuration says.
    """
    blocks = build_blocks(config)
    layer = functools.partial(rules.CodeLayer, dtype=_dtype(config))
    l2 = {"l2": config.l2, "l2_kernels": config.l2_kernels}
    if config.rule == "associated":
        network = rules.associated(
            blocks,
            classes,
            config.code,
            bridge=_bridges(config, blocks, nn.sigmoid),
            encoder=layer,
            decoder=layer,
            autoencoder_rate=config.autoencoder_rate if config.codes == "online" else 0.0,
            **l2,
        )
    else:
        network = rules.backprop(
            blocks,
            classes,
            config.code,
            bridge=_bridges(config, blocks, nn.relu)[-1],
            decoder=functools.partial(layer, activation=nn.relu, norm=config.dense_norm),
            head=functools.partial(layer, activation=rules.linear),
            **l2,
        )
    return freeze(network, fields.freeze_indices(config))


def build_codes(config: Config, classes: int) -> Network:
    """The chain of encoders and decoders of the network, for pre-trained codes."""
    layer = functools.partial(rules.CodeLayer, dtype=_dtype(config))
    return rules.label_codes(classes, (config.code,) * config.components, encoder=layer, decoder=layer)


def _bridges(config: Config, blocks: Sequence[nn.Module], activation) -> list[PartFactory]:
    """What stands between each block and its code."""
    norm = config.dense_norm and config.rule == "backprop"
    bridge = functools.partial(
        rules.Bridge, expansion=config.bridge_expansion, activation=activation, dtype=_dtype(config), norm=norm
    )
    if config.bridge == "none":
        return [lambda width: rules.NoBridge()] * len(blocks)
    if config.bridge == "conv":
        # The block that stands next is the shape of what each bridge sees first; above the top one there is none.
        return [functools.partial(bridge, pool=1, lead=lead) for lead in (*blocks[1:], None)]
    return [functools.partial(bridge, pool=config.pool if config.bridge == "pooled" else None)] * len(blocks)


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
            dense = (DENSE_UNITS,) * config.dense_layers
            return networks.vgg(dense=dense, norm=config.batch_norm, **options)
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
