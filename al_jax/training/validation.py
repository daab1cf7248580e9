"""Configurations that are refused before anything is compiled, each in one sentence."""

from al_jax.data import STREAMED
from al_jax.training.config import (
    MACHINES,
    Config,
    cuts_of,
    default_config,
    depth,
    freeze_indices,
    nearest,
    partition_of,
    stages,
    weights_of,
)
from al_jax.training.errors import ConfigError
from al_jax.training.machine_checks import validate_machine

CHOICES = {
    "normalisation": ("unit_range", "half_range", "subtract_mean", "standardise", "imagenet"),
    "augmentation": ("none", "crop", "crop_flip", "reflect_crop_flip", "jitter", "authors", "resized_crop"),
    "network": (
        "mlp",
        "vanilla_cnn",
        "vgg",
        "resnet8",
        "resnet20",
        "resnet32",
        "resnet110",
        "resnet101",
        "resnet152",
        "resnext101",
        "vgg13",
        "lenet",
    ),
    "residual": ("authors", "standard"),
    "bridge": ("paper", "pooled", "conv", "none"),
    "codes": ("online", "pretrained"),
    "l2_kernels": ("blocks", "convolutions", "all"),
    "activation": ("elu", "relu"),
    "rule": ("associated", "backprop", "greedy", "predsim", "infopro", *MACHINES),
    "layer": ("relu", "tanh", "relu_norm", "norm_relu", "norm_tanh"),
    "feedback": ("fixed_random", "uniform_sign", "batchwise_random_sign", "fixed_random_sign", "kolen_pollack"),
    "head": ("own", "mlp_sr", "mlp_sr2", "wide", "1c2f", "2c2f", "image", "averaged", "pooled"),
    "dtype": ("float32", "bfloat16"),
    "optimizer": ("adam", "sgd"),
    "schedule": ("cosine", "epoch_cosine", "steps", "constant"),
    "engine": ("sequential", "pipelined"),
}
AT_LEAST_ONE = [
    "components",
    "width",
    "code",
    "bridge_expansion",
    "pool",
    "code_updates",
    "momentum_depth",
    "input_steps",
    "members",
    "tree_depth",
    "candidates",
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
AT_LEAST_ZERO = [
    "validation",
    "examples",
    "padding",
    "dense_layers",
    "l2",
    "autoencoder_rate",
    "momentum_biases",
    "warmup_epochs",
    "target_step",
    "target_noise",
    "ridge",
    "input_rate",
    "weight_decay",
    "seed",
    "checkpoint_seconds",
]
SHARES = ["similarity", "momentum_decay", "leak"]
LOCAL = ("greedy", "predsim", "infopro")


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
    for field in ("learning_rate", "code_learning_rate", "reverse_rate", "epsilon", "width_factor"):
        if not 0 < config[field] < float("inf"):
            raise ConfigError(f"config.{field} is {config[field]}: it must be positive")
    for field in SHARES:
        if not 0 <= config[field] <= 1:
            raise ConfigError(f"config.{field} is {config[field]}: it must be from 0 to 1")
    if not 0 <= config.optimizer_momentum < 1:
        raise ConfigError(f"config.optimizer_momentum is {config.optimizer_momentum}: it must be in [0, 1)")
    if config.codes == "pretrained" and config.rule != "associated":
        raise ConfigError(f"config.codes is 'pretrained', but rule={config.rule} has no codes: leave it 'online'")
    if config.codes == "pretrained" and config.warm_start:
        raise ConfigError(
            "config.warm_start brings its own codes: leave codes='online', with autoencoder_rate=0 to keep them"
        )
    cuts = cuts_of(config)
    if config.network == "mlp" and config.cuts != "even":
        raise ConfigError(f"config.cuts is {config.cuts!r}: an mlp has one layer a component, leave it 'even'")
    if cuts is not None and len(cuts) != config.components:
        raise ConfigError(
            f"config.cuts is {config.cuts!r}: it must be 'even' or give {config.components} components their numbers "
            "of layers"
        )
    _validate_data(config)
    _validate_rule(config)
    validate_machine(config)
    _validate_batch(config)
    _validate_devices(config)
    for index in freeze_indices(config):
        if not 0 <= index < depth(config):
            raise ConfigError(f"config.freeze names component {index + 1}: there are 1 to {depth(config)}")


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
    if config.head != "own" and config.rule not in LOCAL:
        raise ConfigError(f"config.head is for {', '.join(LOCAL)}; rule={config.rule} has none: leave it 'own'")
    if config.l2 and config.rule in LOCAL:
        raise ConfigError(f"config.l2 is for associated and backprop: set weight_decay for rule={config.rule}")
    for field in ("infopro_first", "infopro_last"):
        weights_of(config, field)
    for field in ("momentum", "leak"):
        if config[field] and config.components == 1:
            raise ConfigError(f"config.{field} is for several components: set components to 2 or more")
    if config.momentum_scaled and not (config.momentum_biases and config.momentum_average):
        raise ConfigError("config.momentum_scaled weighs biases against the average: keep both of them")
    if config.head == "image" and config.network == "mlp":
        raise ConfigError("config.head is 'image', which is made of convolutions: choose another for an mlp")
    if config.momentum and config.bridge == "conv" and config.rule == "associated":
        raise ConfigError("config.bridge is 'conv', shaped like the next block as momentum's branch is: choose another")
    if config.contrast and config.rule != "infopro":
        raise ConfigError(f"config.contrast is for rule=infopro, not {config.rule}")
    if config.remat and config.network == "mlp":
        raise ConfigError("config.remat is for networks of convolutions: an mlp's layers keep little, leave it false")
    if config.leak and config.codes == "pretrained":
        raise ConfigError(
            "config.leak lets codes learn from losses above, so they cannot be pretrained: codes='online'"
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
            "config.augmentation is 'authors', whose images cannot be told back to pixels, which rule=infopro "
            "reconstructs: choose another"
        )
    if config.schedule == "epoch_cosine" and config.epochs == 1:
        raise ConfigError("config.epochs is 1, and the last epoch of schedule=epoch_cosine has rate 0: train for more")
    if config.warmup_epochs and config.schedule != "epoch_cosine":
        raise ConfigError(f"config.warmup_epochs is for schedule=epoch_cosine, not {config.schedule}")


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
