"""What each field of a configuration may be: by itself, and beside others. Tables that validation reads."""

from collections.abc import Iterable
from typing import Any

from al_jax.training.config import HIDDEN, MACHINES, Config, default_config

RESNETS = ("resnet8", "resnet20", "resnet32", "resnet110")
CONVOLUTIONAL = ("vanilla_cnn", "vgg", *RESNETS, "resnet101", "resnet152", "resnext101", "vgg13")
FOLDED = ("associated", "backprop")
LOCAL = ("greedy", "predsim", "infopro")
COMPONENTS = (*FOLDED, *LOCAL)

CHOICES = {
    "normalisation": ("unit_range", "half_range", "subtract_mean", "standardise", "imagenet"),
    "augmentation": ("none", "crop", "crop_flip", "reflect_crop_flip", "jitter", "authors", "resized_crop"),
    "network": ("mlp", *CONVOLUTIONAL, "lenet"),
    "residual": ("authors", "standard"),
    "bridge": ("paper", "pooled", "conv", "none"),
    "associated_loss": ("squares", "contrast"),
    "codes": ("online", "pretrained"),
    "l2_kernels": ("blocks", "convolutions", "all"),
    "activation": ("elu", "relu"),
    "rule": (*COMPONENTS, *MACHINES),
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
    "upper_steps",
    "members",
    "tree_depth",
    "candidates",
    "population",
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
    "target_noise",
    "input_noise",
    "tree_cuts",
    "search_noise",
    "ridge",
    "input_rate",
    "weight_decay",
    "num_processes",
    "seed",
    "checkpoint_seconds",
]
POSITIVE = [
    "target_step",
    "learning_rate",
    "code_learning_rate",
    "reverse_rate",
    "epsilon",
    "width_factor",
    "head_width",
    "sigma",
    "start_timeout",
    "step_timeout",
]
SHARES = ["similarity", "momentum_decay", "leak", "boost"]

# Fields that have an effect only where another has one of these values, and must keep their default elsewhere. Those
# that train codes may be set under backprop, too: its configs are those of Associated Learning with another rule.
NEEDS: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("padding", "augmentation", ("crop", "crop_flip", "reflect_crop_flip")),
    ("width", "network", ("mlp",)),
    ("width", "rule", COMPONENTS),
    ("width_factor", "network", CONVOLUTIONAL),
    ("batch_norm", "network", ("vgg",)),
    ("dense_layers", "network", ("vgg",)),
    ("residual", "network", RESNETS),
    ("remat", "network", CONVOLUTIONAL),
    ("code", "rule", FOLDED),
    ("bridge", "rule", FOLDED),
    ("pool", "rule", FOLDED),
    ("pool", "bridge", ("pooled",)),
    ("bridge_expansion", "rule", FOLDED),
    ("bridge_expansion", "bridge", ("paper", "pooled", "conv")),
    ("bridge_hidden", "rule", ("associated",)),
    ("bridge_hidden", "bridge", ("paper", "pooled", "conv")),
    ("associated_loss", "rule", ("associated",)),
    ("dense_norm", "rule", ("backprop",)),
    ("autoencoder_rate", "rule", FOLDED),
    ("autoencoder_rate", "codes", ("online",)),
    ("codes", "rule", ("associated",)),
    ("code_updates", "rule", FOLDED),
    ("code_learning_rate", "rule", FOLDED),
    ("l2_kernels", "rule", FOLDED),
    ("head", "rule", LOCAL),
    ("head_width", "head", ("mlp_sr", "mlp_sr2", "1c2f", "2c2f")),
    ("similarity", "rule", ("predsim",)),
    ("infopro_first", "rule", ("infopro",)),
    ("infopro_last", "rule", ("infopro",)),
    ("infopro_shares", "rule", ("infopro",)),
    ("contrast", "rule", ("infopro",)),
    ("momentum_depth", "momentum", (True,)),
    ("momentum_decay", "momentum", (True,)),
    ("momentum_decay", "momentum_average", (True,)),
    ("momentum_biases", "momentum", (True,)),
    ("momentum_average", "momentum", (True,)),
    ("momentum_scaled", "momentum", (True,)),
    ("warmup_epochs", "schedule", ("epoch_cosine",)),
    ("optimizer_momentum", "optimizer", ("sgd",)),
    ("epsilon", "optimizer", ("adam",)),
    ("epsilon_hat", "optimizer", ("adam",)),
    ("partition", "engine", ("pipelined",)),
    # Engines of components, and what only components have.
    *((field, "rule", COMPONENTS) for field in ("accumulate", "activation", "components", "cuts", "data_parallel")),
    *((field, "rule", COMPONENTS) for field in ("devices", "dtype", "engine", "exact", "freeze", "l2", "leak")),
    *((field, "rule", COMPONENTS) for field in ("momentum", "shards", "warm_start")),
    # Learning machines.
    ("units", "rule", MACHINES),
    ("units", "network", ("mlp",)),
    ("layer", "rule", (*HIDDEN, "target_propagation", "least_squares")),
    ("feedback", "rule", ("feedback_alignment",)),
    *((field, "rule", ("target_propagation",)) for field in ("difference", "target_step", "target_noise")),
    *((field, "rule", ("target_propagation",)) for field in ("input_noise", "reverse_rate", "alternate")),
    *((field, "rule", ("evolution",)) for field in ("population", "sigma")),
    ("ridge", "rule", ("least_squares",)),
    *((field, "rule", ("decision_linear",)) for field in ("input_steps", "input_rate", "upper_steps")),
    *((field, "rule", ("decision_linear",)) for field in ("boost", "joint_trees", "tree_cuts")),
    *((field, "rule", ("decision_linear", "neural_decision")) for field in ("members", "tree_depth")),
    *((field, "rule", ("neural_decision",)) for field in ("candidates", "search_noise")),
    ("diagnose", "rule", MACHINES),
)


def with_given(config: Config, given: Iterable[str]) -> None:
    """Resets what a config file has set for its own rule, network … when the command line gives another.

    A field that has no effect beside the given ones gets its default; one that was given itself stays, and validation
    refuses it.

    Args:
      config: of the file, with the given fields in it; changed in place.
      given: their names.
    """
    kept, changed, defaults = set(given), set(given), default_config()
    while foreign := {
        field
        for field, other, values in NEEDS
        if other in changed and config[other] not in values and field not in kept and config[field] != defaults[field]
    }:
        config.update({field: defaults[field] for field in foreign})
        changed |= foreign
