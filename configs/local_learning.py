"""Supervised local learning on residual networks: greedy (DGL), PredSim or InfoPro, with or without momentum (MAN).

    python train.py --config=configs/local_learning.py --config.data_dir=DIR --workdir=runs/dgl   DGL, ResNet-32, K = 16
    python train.py --config=configs/local_learning.py:man ...                      with the Momentum Auxiliary Network
    python train.py --config=configs/local_learning.py:infopro,k8,man ...           InfoPro, K = 8, with it
    python train.py --config=configs/local_learning.py:resnet110,predsim ...        PredSim, ResNet-110, K = 55
    python train.py --config=configs/local_learning.py:backprop ...                 end to end; `,remat` for memory
    python train.py --config=configs/local_learning.py:smoke,man                    a small network on embedded digits

Variants add up, in any order: a rule (`predsim`, `infopro`), a network and its cuts (`resnet110`, `k8`, `k32`;
`man_cuts` cuts like MAN's code, where K = 16 and 55 have 15 and 54 components), data (`svhn`, `stl10`), momentum
(`man`) or one of its controls (`average_only`, `bias_only`, `copied`, `frozen`, `two_branches`, `scaled`), the layers
of its branches (`depth2`, `depth3`, beside it), heads (`wide_head`, `2c2f`), `short` or `smoke`. Three controls each
cost what `man` does in one respect: `two_branches`; `equal_parameters`, DGL with 16 components and without momentum,
whose heads are so wide that as many parameters train; and `equal_macs`, whose forward pass takes as many
multiply-accumulates. Counting backward passes, `two_branches` and `equal_macs` take 13 % more than `man`, whose
averaged weights need no gradient. The heads of `equal_macs` are InfoPro's, since AugLocal's, on 8x8 pixels at most,
would need 90 million parameters for that. All arms, paired by seed:

    python -m al_jax.analysis.compare configs/local_learning.py:{backprop,man,equal_parameters,equal_macs} \
        configs/local_learning.py:backprop,remat configs/local_learning.py --seeds 3 -- --config.data_dir=DIR

InfoPro's weights are set with the variants, before fields of the command line: with `--config.network`,
`--config.components` or `--config.dataset`, also give `--config.infopro_first` and `--config.infopro_last`.
`man_weights` are those of MAN's code; so `infopro,man_cuts,2c2f,man_weights,man` is what its InfoPro numbers are from,
as far as that is known: its one published command is for K = 16.

The recipe is that of InfoPro and AugLocal over MAN's 400 epochs: batches of 1024, SGD with Nesterov's step, a cosine by
epoch with 10 of warm-up, weight decay on everything; DGL has AugLocal's head. One thing differs: images that
fill no whole batch are left out of an epoch, so one of CIFAR-10 has 48 updates, theirs a 49th of 848 images. It was not
run at its full length yet. `short` is 5 epochs of 10,000 images in batches of 128.
"""

import itertools

from al_jax.networks import published_cuts
from al_jax.training.config import PUBLISHED_CUTS, default_config, names_of_variant, with_variant
from al_jax.training.errors import ConfigError
from al_jax.training.recipes import SMOKE

# InfoPro's weights on CIFAR-10, by network and K: its own, and AugLocal's for 55. None is published for 32, which takes
# those of 55.
WEIGHTS = {
    ("resnet32", 8): ("5,0", "0,2"),
    ("resnet32", 16): ("5,0.05", "0.2,0.5"),
    ("resnet110", 32): ("5,0", "0.5,1"),
    ("resnet110", 55): ("5,0", "0.5,1"),
}
# On these only those of ResNet-110 with K = 16 are published; every network takes them.
WEIGHTS_ON = {"svhn": ("5,0.2", "0.5,1"), "stl10": ("20,0.5", "10,0.1")}
MAN_COMPONENTS = {16: 15, 55: 54}  # where MAN's code has the stem and the first unit in one component
# Controls of equal cost, and what their widths of heads were counted for.
EQUAL = {"equal_parameters": {"head_width": 1.33}, "equal_macs": {"head": "2c2f", "head_width": 1.69}}
COUNTED = {"rule": "greedy", "network": "resnet32", "components": 16, "cuts": "infopro", "width_factor": 1.0}


def get_config(variant=""):
    config = default_config(
        dataset="cifar10",
        normalisation="standardise",
        augmentation="reflect_crop_flip",
        network="resnet32",
        residual="standard",
        activation="relu",
        components=16,
        cuts="infopro",
        rule="greedy",
        head="mlp_sr2",
        epochs=400,
        batch_size=1024,
        optimizer="sgd",
        learning_rate=0.8,
        schedule="epoch_cosine",
        warmup_epochs=10,
        weight_decay=1e-4,
    )
    config = with_variant(
        config,
        variant,
        {
            "svhn": {"dataset": "svhn", "normalisation": "half_range", "augmentation": "crop", "padding": 2},
            "stl10": {
                "dataset": "stl10",
                "normalisation": "half_range",
                "augmentation": "crop_flip",
                "padding": 4,
                "batch_size": 128,
                "learning_rate": 0.1,
            },
            "resnet110": {"network": "resnet110", "components": 55},
            "k8": {"components": 8},
            "k32": {"components": 32},
            "man_cuts": {"cuts": "man"},
            "predsim": {"rule": "predsim", "head": "own"},
            "infopro": {"rule": "infopro", "head": "own"},
            "wide_head": {"head": "wide"},
            "2c2f": {"head": "2c2f"},
            "man_weights": {"infopro_first": "5,0.5", "infopro_last": "0,0"},
            "man": {"momentum": True},
            "average_only": {"momentum": True, "momentum_biases": 0},
            "bias_only": {"momentum": True, "momentum_average": False},
            "copied": {"momentum": True, "momentum_biases": 0, "momentum_decay": 0.0},
            "frozen": {"momentum": True, "momentum_decay": 1.0},
            "two_branches": {"momentum": True, "momentum_biases": 2, "momentum_average": False},
            "scaled": {"momentum": True, "momentum_scaled": True},
            "depth2": {"momentum_depth": 2},
            "depth3": {"momentum_depth": 3},
            **EQUAL,
            "remat": {"remat": True},
            "smoke": {
                **{name: SMOKE[name] for name in ("dataset", "augmentation", "batch_size", "epochs")},
                "network": "resnet8",
                "width_factor": 0.5,
                "components": 4,
                "cuts": "even",
                "padding": 0,
                "learning_rate": 0.05,
                "warmup_epochs": 1,
            },
            "backprop": {"components": 1, "cuts": "even"},
            "short": {"examples": 10_000, "epochs": 5, "batch_size": 128, "learning_rate": 0.1, "warmup_epochs": 1},
        },
    )
    names = set(names_of_variant(variant))
    if names & set(EQUAL) and "smoke" not in names and {name: config[name] for name in COUNTED} != COUNTED:
        raise ConfigError(
            f"{' and '.join(EQUAL)} were counted for DGL on ResNet-32 with K = 16: leave out what differs"
        )
    said = config.components  # K, as papers count it
    if config.cuts == "man":
        config.components = MAN_COMPONENTS.get(said, said)
    if "man_weights" in names and config.cuts not in PUBLISHED_CUTS:
        raise ConfigError("variant man_weights is for published cuts: leave out what has others")
    if config.rule == "infopro" and "man_weights" in names:
        config.infopro_shares = man_shares(config, said)
    elif config.rule == "infopro" and config.dataset in WEIGHTS_ON:
        config.infopro_first, config.infopro_last = WEIGHTS_ON[config.dataset]
    elif config.rule == "infopro" and config.dataset == "cifar10" and (config.network, said) in WEIGHTS:
        config.infopro_first, config.infopro_last = WEIGHTS[config.network, said]
    return config


def man_shares(config, said):
    """How MAN's code weighs: by the stage of the unit above each cut, from 1, over K - 2."""
    units = (int(config.network.removeprefix("resnet")) - 2) // 6  # of each stage; below them is the stem
    cuts = published_cuts(config.network, config.components, config.cuts)
    stages = [1 + (end - 1) // units for end in itertools.accumulate(cuts[:-1])]
    return ",".join(f"{stage / (said - 2):.6g}" for stage in stages)
