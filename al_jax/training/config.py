"""The fields of a run's configuration, and what is refused before anything is compiled."""

import difflib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from al_jax.training.errors import ConfigError

Config = Any  # a ConfigDict with the fields below; its values have many types, which type checkers cannot follow

# A resumed run may change these. None touches the updates that are done, and but for `epochs`, over whose number the
# learning-rate schedules stretch, none those to come.
MAY_CHANGE = frozenset(
    [
        "checkpoint_seconds",
        "data_dir",
        "data_parallel",
        "devices",
        "engine",
        "epochs",
        "eval_every",
        "evaluate",
        "keep",
        "partition",
        "profile",
        "updates_per_call",
    ]
)


def default_config(**fields: Any) -> Config:
    """A ConfigDict of all fields and their defaults, with `fields` put over them."""
    config = ConfigDict(
        {
            # Data.
            "dataset": "digits",  # digits | mnist | fashion_mnist | cifar10 | cifar100
            "data_dir": "",  # where TFDS data lies; empty: ~/tensorflow_datasets
            "validation": 0,  # training examples held out for validation
            "normalisation": "unit_range",  # unit_range | subtract_mean (of each pixel) | standardise (each channel)
            "augmentation": "none",  # none | crop (pad an eighth of the height, crop) | crop_flip
            # Network and rule.
            "network": "mlp",
            "components": 4,  # K, the depth of the folded network: one layer a component in an mlp
            "width": 128,  # units of each layer
            "activation": "elu",  # elu | relu, of the layers
            "rule": "associated",  # associated | backprop (the same folded network as one component)
            "code": 128,  # width of the codes of Associated Learning
            "bridge_expansion": 5,  # hidden width of a bridge, in codes
            "autoencoder_rate": 2.0,  # learning rate of g and h, in learning rates
            "l2": 0.0,  # l2 * sum(w^2) / 2 over f's kernels
            "dtype": "float32",  # float32 | bfloat16, what layers compute in; parameters are float32
            "warm_start": "",  # workdir of a run whose components this one starts from
            "freeze": "",  # components that stay as they are, from 1: "1,2"
            # Optimisation. An update takes batch_size examples, in `accumulate` micro-batches of `shards` slices.
            "epochs": 60,
            "batch_size": 32,
            "accumulate": 1,
            "shards": 1,
            "optimizer": "adam",  # adam | sgd
            "learning_rate": 1e-3,
            "schedule": "cosine",  # cosine (to 0) | steps (x.1 at 40, 60, 80 %, x.5 at 90 %) | constant
            "optimizer_momentum": 0.9,  # of sgd
            "epsilon": 1e-8,  # of adam
            "seed": 0,
            "num_seeds": 1,  # seed, seed + 1, ... trained in one run
            # Engine.
            "engine": "sequential",  # sequential | pipelined
            "devices": 1,
            "data_parallel": 1,  # devices that share a micro-batch; in the sequential engine, all of them
            "partition": "even",  # even, or the number of components of each stage: "1,1,2"
            "exact": False,  # every engine computes the same bits (CPU)
            # The run.
            "evaluate": False,  # only evaluate the finished run in the workdir
            "eval_every": 1,  # epochs
            "updates_per_call": 128,  # updates in one compiled call
            "checkpoint_seconds": 60.0,  # time between checkpoints; 0: after every call
            "keep": 3,  # checkpoints
            "profile": False,  # write a profiler trace of one call
        }
    )
    _put(config, fields)
    return config


def _put(config: Config, fields: Mapping[str, Any]) -> None:
    for name in fields:
        if name not in config:
            raise ConfigError(f"there is no field config.{name}{nearest(name, config)}")
        try:
            config[name] = fields[name]
        except TypeError as error:
            raise wrong_type(name, fields[name]) from error


def wrong_type(field: str, value: Any) -> ConfigError:
    """What to raise for a value that is not of the field's kind."""
    kind = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[type(default_config()[field])]
    return ConfigError(f"config.{field} is {value!r}: it must be {kind}")


def with_variant(config: Config, variant: str, variants: Mapping[str, Mapping[str, Any]]) -> Config:
    """The config of `configs/NAME.py:VARIANT`; an empty variant changes nothing."""
    if variant and variant not in variants:
        raise ConfigError(f"unknown variant {variant!r}: there are {', '.join(variants)}")
    _put(config, variants.get(variant, {}))
    return config


def nearest(name: str, names) -> str:
    """A suggestion to put behind a message about an unknown name."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]}?" if found else ""


CHOICES = {
    "normalisation": ("unit_range", "subtract_mean", "standardise"),
    "augmentation": ("none", "crop", "crop_flip"),
    "network": ("mlp",),
    "activation": ("elu", "relu"),
    "rule": ("associated", "backprop"),
    "dtype": ("float32", "bfloat16"),
    "optimizer": ("adam", "sgd"),
    "schedule": ("cosine", "steps", "constant"),
    "engine": ("sequential", "pipelined"),
}
AT_LEAST_ONE = [
    "components",
    "width",
    "code",
    "bridge_expansion",
    "epochs",
    "batch_size",
    "accumulate",
    "shards",
    "num_seeds",
    "devices",
    "data_parallel",
    "eval_every",
    "updates_per_call",
    "keep",
]
AT_LEAST_ZERO = ["validation", "l2", "autoencoder_rate", "seed", "checkpoint_seconds"]


def validate(config: Config) -> None:
    """Raises `ConfigError` for values that cannot run, whatever the data and the machine."""
    for field in config:
        if field not in (known := default_config()):
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
    for field in ("learning_rate", "epsilon"):
        if not 0 < config[field] < float("inf"):
            raise ConfigError(f"config.{field} is {config[field]}: it must be positive")
    if not 0 <= config.optimizer_momentum < 1:
        raise ConfigError(f"config.optimizer_momentum is {config.optimizer_momentum}: it must be in [0, 1)")
    _validate_batch(config)
    _validate_devices(config)
    for index in freeze_indices(config):
        if not 0 <= index < depth(config):
            raise ConfigError(f"config.freeze names component {index + 1}: there are 1 to {depth(config)}")


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
        if config.partition != "even":
            raise ConfigError("config.partition is for engine=pipelined; the sequential engine has one stage")
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
            f"config.partition is {config.partition!r}: it must be 'even' or give {stages(config)} stages at least one "
            f"component each, {depth(config)} in all"
        )


def depth(config: Config) -> int:
    """The number of components that train separately."""
    return 1 if config.rule == "backprop" else config.components


def stages(config: Config) -> int:
    """The number of stages of the pipeline."""
    return config.devices // config.data_parallel


def partition_of(config: Config) -> tuple[int, ...] | None:
    """Components of each stage, None for an even partition."""
    return None if config.partition == "even" else _numbers(config, "partition")


def freeze_indices(config: Config) -> tuple[int, ...]:
    """Indices, from 0, of the components that stay as they are."""
    return tuple(number - 1 for number in _numbers(config, "freeze"))


def _numbers(config: Config, field: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in config[field].split(",") if number.strip())
    except ValueError:
        raise ConfigError(
            f"config.{field} is {config[field]!r}: it must be whole numbers separated by commas"
        ) from None


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What a resumed run would change although it may not, as `field: old -> new`.

    A field that did not exist yet when the run was started had its default.
    """
    old = {**default_config().to_dict(), **old}
    fields = sorted((set(old) | set(new)) - MAY_CHANGE)
    return [f"{f}: {old.get(f)!r} -> {new.get(f)!r}" for f in fields if old.get(f) != new.get(f)]
