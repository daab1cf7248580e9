"""Configurations that are refused before anything is compiled, each in one sentence."""

from typing import Any

from al_jax.arguments import listed
from al_jax.data import STREAMED
from al_jax.training.config import Config, default_config, nearest
from al_jax.training.derived import (
    cuts_of,
    depth,
    epochs_of_layers,
    freeze_indices,
    hidden_of_bridges,
    partition_of,
    shares_of,
    stages,
    weights_of,
)
from al_jax.training.errors import ConfigError
from al_jax.training.limits import AT_LEAST_ONE, AT_LEAST_ZERO, CHOICES, LOCAL, NEEDS, POSITIVE, SHARES
from al_jax.training.machine_checks import validate_machine


def validate(config: Config) -> None:
    """Raises `ConfigError` for what cannot run, and most of what has no effect, whatever the data and the machine."""
    known = default_config()
    for field in config:
        if field not in known:
            raise ConfigError(f"there is no field config.{field}{nearest(field, known)}")
    for field, choices in CHOICES.items():
        if config[field] not in choices:
            hint = nearest(config[field], choices)
            raise ConfigError(f"config.{field} is {config[field]!r}: allowed are {', '.join(choices)}{hint}")
    for field in AT_LEAST_ONE:
        if config[field] < 1:
            raise ConfigError(f"config.{field} is {config[field]}: it must be at least 1")
    for field in AT_LEAST_ZERO:
        if not 0 <= config[field] < float("inf"):
            raise ConfigError(f"config.{field} is {config[field]}: it must be a number of at least 0")
    for field in POSITIVE:
        if not 0 < config[field] < float("inf"):
            raise ConfigError(f"config.{field} is {config[field]}: it must be positive")
    for field in SHARES:
        if not 0 <= config[field] <= 1:
            raise ConfigError(f"config.{field} is {config[field]}: it must be from 0 to 1")
    if not 0 <= config.optimizer_momentum < 1:
        raise ConfigError(f"config.optimizer_momentum is {config.optimizer_momentum}: it must be in [0, 1)")
    if config.codes == "pretrained" and config.warm_start:
        raise ConfigError(
            "config.warm_start brings its own codes: leave codes='online', with autoencoder_rate=0 to keep them"
        )
    if config.seed + config.num_seeds > 2**32:
        raise ConfigError(f"config.seed is {config.seed}: random keys are made of seeds below 2**32")
    cuts = cuts_of(config)
    if config.network == "mlp" and config.cuts != "even":
        raise ConfigError(f"config.cuts is {config.cuts!r}: an mlp has one layer a component, leave it 'even'")
    if cuts is not None and len(cuts) != config.components:
        raise ConfigError(
            f"config.cuts is {config.cuts!r}: it must be 'even' or give {config.components} components their numbers "
            "of layers"
        )
    _validate_effects(config)
    _validate_data(config)
    _validate_rule(config)
    validate_machine(config)
    _validate_batch(config)
    _validate_devices(config)
    for index in freeze_indices(config):
        if not 0 <= index < depth(config):
            raise ConfigError(f"config.freeze names component {index + 1}: there are 1 to {depth(config)}")
    if len(set(freeze_indices(config))) == depth(config):
        raise ConfigError("config.freeze names every component, so nothing would learn: leave one out")


def _validate_effects(config: Config) -> None:
    defaults = default_config()
    for field, other, values in NEEDS:
        if config[other] not in values and config[field] != (default := defaults[field]):
            raise ConfigError(
                f"config.{field} is for {other}={listed(map(_text, values))}, not {_text(config[other])}: leave it "
                f"{_text(default)}"
            )
    if config.l2_kernels != defaults.l2_kernels and not config.l2:
        raise ConfigError(f"config.l2_kernels is for an l2 above 0: leave it {defaults.l2_kernels}")


def _text(value: Any) -> str:
    """As the command line takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _validate_data(config: Config) -> None:
    if config.augmentation == "resized_crop" and config.dataset not in STREAMED:
        raise ConfigError(
            f"config.augmentation is 'resized_crop', which is for data read from disk, {', '.join(STREAMED)}: choose "
            f"another for {config.dataset}, such as crop_flip"
        )
    if config.normalisation in ("subtract_mean", "standardise") and config.dataset in STREAMED:
        raise ConfigError(
            f"config.normalisation is {config.normalisation!r}, which needs all training images in memory: choose "
            f"imagenet, half_range or unit_range for {config.dataset}"
        )


def _validate_rule(config: Config) -> None:
    if config.l2 and config.rule in LOCAL:
        raise ConfigError(f"config.l2 is for associated and backprop: set weight_decay for rule={config.rule}")
    for field in ("infopro_first", "infopro_last"):
        weights_of(config, field)
    shares_of(config)
    hidden_of_bridges(config)
    for field in ("momentum", "leak"):
        if config[field] and config.components == 1:
            raise ConfigError(f"config.{field} is for several components: set components to 2 or more")
    if config.momentum_scaled and not (config.momentum_biases and config.momentum_average):
        raise ConfigError("config.momentum_scaled weighs biases against the average: keep both of them")
    if config.head == "image" and config.network == "mlp":
        raise ConfigError("config.head is 'image', which is made of convolutions: choose another for an mlp")
    if config.momentum and config.bridge == "conv" and config.rule == "associated":
        raise ConfigError("config.bridge is 'conv', shaped like the next block as momentum's branch is: choose another")
    for field, compares in (
        ("associated_loss", config.associated_loss == "contrast"),
        ("contrast", config.contrast and config.components > 1),
        ("similarity", config.rule == "predsim" and config.similarity and config.components > 1),
    ):
        if compares and config.batch_size == config.accumulate * config.shards:
            raise ConfigError(
                f"config.{field} is {_text(config[field])}, which compares the examples of a slice of a micro-batch, "
                "and here each has one: raise batch_size, or lower accumulate or shards"
            )
    for field in ("momentum", "leak"):
        if config[field] and config.rule == "backprop":
            raise ConfigError(f"config.{field} is for rules with components: rule=backprop has one, give another rule")
    if config.momentum and config.leak:
        raise ConfigError("config.leak makes one component of all, which tell each other nothing: set momentum=false")
    if config.momentum and not (config.momentum_biases or config.momentum_average):
        raise ConfigError(
            "config.momentum_biases is 0 without momentum_average: nothing would be left, set one of them"
        )
    if config.rule == "infopro" and config.augmentation == "authors":
        raise ConfigError(
            "config.augmentation is 'authors', whose images cannot be turned back into the pixels that rule=infopro "
            "reconstructs: choose another"
        )
    if config.schedule == "epoch_cosine" and epochs_of_layers(config) == 1:
        turns = ", of which alternate=true leaves layers one" if config.alternate else ""
        raise ConfigError(
            f"config.epochs is {config.epochs}{turns}, and the last epoch of schedule=epoch_cosine has rate 0: train "
            "for more"
        )


def _validate_batch(config: Config) -> None:
    if config.batch_size % (config.accumulate * config.shards):
        raise ConfigError(
            f"config.batch_size is {config.batch_size}: it must be divisible by accumulate x shards, here "
            f"{config.accumulate} x {config.shards}"
        )
    if config.shards % config.data_parallel:
        raise ConfigError(
            f"config.shards is {config.shards}: it must be a multiple of data_parallel, here {config.data_parallel}"
        )


def _validate_devices(config: Config) -> None:
    if config.devices % config.data_parallel:
        raise ConfigError(
            f"config.devices is {config.devices}: it must be a multiple of data_parallel, here {config.data_parallel}"
        )
    if config.engine == "sequential":
        if config.devices != config.data_parallel:
            raise ConfigError(
                f"config.devices is {config.devices} with the sequential engine: set engine=pipelined for stages, or "
                f"data_parallel={config.devices} and shards to share each micro-batch"
            )
    elif stages(config) > depth(config):
        raise ConfigError(
            f"config.devices makes {stages(config)} stages, more than the {depth(config)} components of this network: "
            f"set devices to at most {depth(config) * config.data_parallel}"
        )
    if config.num_seeds > 1 and (config.engine, config.devices) != ("sequential", 1):
        raise ConfigError(
            f"config.num_seeds is {config.num_seeds}: several seeds in one run need engine=sequential on one device; "
            "otherwise run each seed by itself"
        )
    if config.num_seeds > 1 and config.warm_start:
        raise ConfigError("config.warm_start starts one seed: run each seed by itself, with num_seeds=1")
    sizes = partition_of(config)
    if sizes is not None and (len(sizes) != stages(config) or sum(sizes) != depth(config) or min(sizes) < 1):
        raise ConfigError(
            f"config.partition is {config.partition!r}: it must be 'even', 'auto' or give {stages(config)} stages at "
            f"least one component each, {depth(config)} in all"
        )
