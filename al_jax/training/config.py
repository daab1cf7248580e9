"""The fields of a run's configuration, their defaults, and how they are set."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from al_jax.training.errors import ConfigError

Config = Any  # a ConfigDict with the fields below; its values have many types, which type checkers cannot follow

# A resumed run may change these. None affects the updates already done, nor, except for `epochs`, over whose number
# the learning-rate schedules stretch, those to come.
MAY_CHANGE = frozenset(
    [
        "checkpoint_seconds",
        "coordinator",
        "data_dir",
        "data_parallel",
        "devices",
        "engine",
        "epochs",
        "eval_every",
        "evaluate",
        "keep",
        "num_processes",
        "partition",
        "process_id",
        "profile",
        "start_timeout",
        "step_timeout",
        "updates_per_call",
    ]
)

HIDDEN = ("gradient", "feedback_alignment", "direct_feedback_alignment", "local_classifier", "evolution")
MACHINES = (*HIDDEN, "target_propagation", "least_squares", "decision_linear", "neural_decision")
PUBLISHED_CUTS = ("infopro", "man", "man++")


def default_config(**fields: Any) -> Config:
    """A ConfigDict of all fields and their defaults, with `fields` put over them."""
    config = ConfigDict(
        {
            # Data.
            "dataset": "digits",  # any that al_jax.data.load knows, such as cifar10, svhn, stl10 or imagenet2012
            "data_dir": "",  # where TFDS data lies; empty: ~/tensorflow_datasets
            "validation": 0,  # training examples held out for validation
            "examples": 0,  # train on only this many of the rest, drawn at random; 0: on all
            "normalisation": "unit_range",  # unit_range | half_range | subtract_mean | standardise | imagenet
            "augmentation": "none",  # none | crop | crop_flip | reflect_crop_flip | jitter | authors | resized_crop
            "padding": 0,  # pixels around an image that crop and *crop_flip add; 0: an eighth of its height
            # Network and rule.
            # mlp | vanilla_cnn | vgg | resnet8, 20, 32, 110 | resnet101, 152, resnext101, vgg13 | lenet (for machines)
            "network": "mlp",
            "components": 4,  # K, the depth of the folded network: one layer each in an mlp
            # even (but a resnet8 to 110 in 4: the stem and three stages) | memory | infopro | man | man++ | layers of
            # each component: "4,3,3"
            "cuts": "even",
            "width": 128,  # units of each layer of an mlp
            "width_factor": 1.0,  # factor on all channels of the other networks, and on a vgg's dense units
            "batch_norm": False,  # after the convolutions of a vgg
            "dense_layers": 2,  # above the convolutions of a vgg; the authors' backprop network has none
            # A resnet's units: authors (of Associated Learning) | standard (He et al.), which differ in where they
            # are activated, shortcuts, biases, initial kernels, padding and batch norm (al_jax/networks/layers.py).
            "residual": "authors",
            "remat": False,  # gradients compute the inside of layers anew, for an accelerator's memory
            "activation": "elu",  # elu | relu, of the layers
            # associated | backprop (the folded network as one) | greedy | predsim | infopro, or a learning machine's:
            # gradient | feedback_alignment | direct_feedback_alignment | local_classifier | evolution |
            # target_propagation | least_squares | decision_linear | neural_decision
            "rule": "associated",
            "code": 128,  # width of the codes of Associated Learning
            "bridge": "paper",  # paper | pooled | conv (a block like the next one and a global average first) | none
            "pool": 2,  # height and width to which a pooled bridge averages the features
            "bridge_expansion": 5,  # hidden width of a bridge, as a multiple of code
            # Its hidden units: sigmoid (the paper's) | elu, or one for each component, from the lowest: "sigmoid,elu".
            # Under backprop they are ReLUs.
            "bridge_hidden": "sigmoid",
            "dense_norm": False,  # batch norm in the dense layers above the blocks, under backprop
            "associated_loss": "squares",  # squares (the paper's) | contrast (of codes, and squares)
            "autoencoder_rate": 2.0,  # learning rate of g and h, as a multiple of learning_rate
            "codes": "online",  # online | pretrained: g and h are trained on the labels alone, then kept
            "code_updates": 3000,  # of pretrained codes
            "code_learning_rate": 1e-3,  # of Adam, for pretrained codes
            "l2": 0.0,  # l2 * sum(w^2) / 2
            "l2_kernels": "blocks",  # blocks | convolutions | all, whose kernels that penalty counts
            # Local rules, where one component alone is end-to-end backpropagation.
            "head": "own",  # own (the rule's) | mlp_sr | mlp_sr2 | wide | 1c2f | 2c2f | image | averaged | pooled
            "head_width": 1.0,  # factor on the channels of the heads mlp_sr, mlp_sr2, 1c2f and 2c2f
            "similarity": 0.99,  # the share of a predsim loss that compares examples
            "infopro_first": "5,0",  # weights of reconstruction and prediction, in the lowest component
            "infopro_last": "0,2",  # and in the highest but one
            "infopro_shares": "even",  # even | how far each component below the top is from first, 0, to last, 1: "0,1"
            "contrast": False,  # supervised contrast in place of infopro's cross-entropy
            "momentum": False,  # the Momentum Auxiliary Network, on any rule with components
            "momentum_depth": 1,  # how many layers a branch has, the next ones above
            "momentum_decay": 0.995,  # of its average, per update
            "momentum_biases": 1,  # how many trained branches
            "momentum_average": True,
            "momentum_scaled": False,  # MAN++: trained weights for biases and average
            "leak": 0.0,  # the share of the gradient that goes through each cut; above 0 all is one component
            # Learning machines.
            "units": "128,32",  # of the hidden layers; one number under decision_linear and neural_decision
            "layer": "relu",  # what follows their linear part: relu | tanh | relu_norm | norm_relu | norm_tanh
            # fixed_random | uniform_sign | batchwise_random_sign | fixed_random_sign | kolen_pollack
            "feedback": "fixed_random",
            "difference": True,  # difference target propagation; false: plain
            "target_step": 1.0,  # of target propagation's first target, along the gradient of each example's loss
            "target_noise": 0.0,  # standard deviation of the noise in what inverses learn from
            "input_noise": 0.0,  # standard deviation of the noise on images, in training by target propagation
            "reverse_rate": 1e-3,  # learning rate of the inverses' Adam
            "alternate": False,  # inverses and layers learn in alternate epochs; false: both in all
            "population": 64,  # evaluations for each estimate of evolution, an even number
            "sigma": 1e-3,  # standard deviation of its moves, small beside the changes that errors ask for
            "ridge": 1e-2,  # of least squares for inputs
            "input_steps": 40,  # on the inputs of decision_linear's upper part
            "input_rate": 0.1,  # their learning rate
            "upper_steps": 1,  # of that part's parameters
            "members": 9,  # the newest fits of an ensemble of trees
            "boost": 0.0,  # the share of the others' error that decision_linear's newest trees make good
            "tree_depth": 11,
            "tree_cuts": 0,  # random cuts among which a node of decision_linear's trees chooses; 0: all cuts
            "joint_trees": False,  # one tree with vectors for all units, in place of a tree for each
            "candidates": 8,  # draws of neural_decision's features, of which the best is their target
            "search_noise": 0.5,  # their standard deviation, of features with a standard deviation of 1
            "diagnose": False,  # record angles, distances and changes of error of every part
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
            "schedule": "cosine",  # cosine (to 0) | epoch_cosine | steps (x.1 at 40, 60, 80 %, x.5 at 90 %) | constant
            "warmup_epochs": 0,  # of an epoch_cosine, which changes between epochs alone; it warms up from 0.01
            "optimizer_momentum": 0.9,  # of sgd, with Nesterov's step
            "weight_decay": 0.0,  # of every parameter: part of sgd's gradient, decoupled under adam
            "epsilon": 1e-8,  # of adam
            "epsilon_hat": False,  # epsilon is added before the bias correction, as in TensorFlow 1
            "seed": 0,
            "num_seeds": 1,  # seed, seed + 1, ... trained in one run
            # Engine.
            "engine": "sequential",  # sequential | pipelined
            "devices": 1,
            "data_parallel": 1,  # devices that share a micro-batch; in the sequential engine, all of them
            "partition": "even",  # even | auto (by measured times, once) | components of each stage: "1,1,2"
            "exact": False,  # every engine computes the same bits (CPU)
            # Several processes with equal shares of the devices; on one host, python -m al_jax.launch starts them.
            "coordinator": "",  # host:port of process 0 | auto (SLURM, Open MPI, GKE) | empty: JAX_COORDINATOR_ADDRESS
            "num_processes": 0,  # 0: as JAX_NUM_PROCESSES or the cluster says
            "process_id": -1,  # from 0; -1: as JAX_PROCESS_ID or the cluster says
            "start_timeout": 300.0,  # seconds to wait for all processes
            "step_timeout": 600.0,  # seconds for each call until a process gives up; the first call has both
            # The run.
            "evaluate": False,  # only evaluate the finished run in the workdir
            "eval_every": 1,  # epochs
            "updates_per_call": 128,  # updates in one compiled call, whose images are in memory together
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


def from_text(name: str, text: str) -> Any:
    """A field's value as text, `true` or `1e-3`, in the field's own type.

    Raises:
      ConfigError: there is no such field, or the text is not of its type.
    """
    defaults = default_config()
    if name not in defaults:
        raise ConfigError(f"there is no field config.{name}{nearest(name, defaults)}")
    kind = type(defaults[name])
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise wrong_type(name, text) from error


def wrong_type(field: str, value: Any) -> ConfigError:
    """What to raise for a value that is not of the field's kind."""
    kind = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[type(default_config()[field])]
    return ConfigError(f"config.{field} is {value!r}: it must be {kind}")


def with_variant(config: Config, variant: str, variants: Mapping[str, Mapping[str, Any]]) -> Config:
    """The config of `configs/NAME.py:VARIANT`, and of several variants: `a,b` and `b,a` are the same.

    Each is put over those that the config's file lists before it, so that a name says what was run in any order.

    Raises:
      ConfigError: there is no such variant.
    """
    names = names_of_variant(variant)
    for name in names:
        if name not in variants:
            raise ConfigError(f"unknown variant {name!r}: there are {', '.join(variants)}")
    for name, fields in variants.items():
        if name in names:
            _put(config, fields)
    return config


def names_of_variant(variant: str) -> list[str]:
    """The names in a variant, `a,b` or `a:b`."""
    return [name for name in re.split("[,:]", variant) if name]


def nearest(name: str, names) -> str:
    """A suggestion to put behind a message about an unknown name."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What a resumed run would change although it may not, as `field: old -> new`.

    A field that did not exist yet when the run was started had its default.
    """
    old = {**default_config().to_dict(), **old}
    fields = sorted((set(old) | set(new)) - MAY_CHANGE)
    return [f"{f}: {old.get(f)!r} -> {new.get(f)!r}" for f in fields if old.get(f) != new.get(f)]
