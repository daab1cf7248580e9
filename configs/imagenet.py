"""Supervised local learning on ImageNet: InfoPro, DGL or PredSim in two or four components, with or without momentum.

    python train.py --config=configs/imagenet.py --config.data_dir=DIR --workdir=runs/imagenet   InfoPro, ResNet-101
    python train.py --config=configs/imagenet.py:man,k4 ...          with the Momentum Auxiliary Network, K = 4
    python train.py --config=configs/imagenet.py:resnet152 ...       or `resnext101`, the one of 32 groups of 8 channels
    python train.py --config=configs/imagenet.py:vgg13 ...           DGL on VGG13 with batch norm, K = 10
    python train.py --config=configs/imagenet.py:backprop ...        end to end; `,remat` for memory
    python train.py --config=configs/imagenet.py:smoke,man           a small network on embedded digits

Variants add up, in any order: a network, a rule (`greedy`, `predsim`), `k4`; `man_cuts` cuts like MAN's code, which
differs for a ResNeXt-101 with K = 2, `sequel_cuts` like that of MAN++, which differs with K = 4; `average_only` and
`copied` are MAN's ablations.

The recipe is MAN's, out of InfoPro's: 90 epochs of random crops of 224x224 pixels, mirrored or not, SGD with Nesterov's
step, weight decay 1e-4 on everything, a cosine by epoch without warm-up; batches of 128 at a rate of 0.05, of 64 at
0.025 for ResNeXt-101 and VGG13. InfoPro's weights are the same in all components, 5 and 0.75, for ResNet-152 5 and 1
(MAN's code has 0.75 for that, too). They are set with the variants: with `--config.network`, also give
`--config.infopro_first` and `--config.infopro_last`. DGL on VGG13 has its authors' head of three dense layers, and
VGG13 the dropout of AugLocal's.

Not run: no machine here has these images, or the time. What is tested is that every network, rule and cut of it builds.
"""

from al_jax.training.config import default_config, with_variant
from al_jax.training.recipes import SMOKE

WEIGHTS = {"resnet152": "5,1"}  # of both losses, where they are not 5 and 0.75
SMALL_BATCHES = {"batch_size": 64, "learning_rate": 0.025}


def get_config(variant=""):
    config = default_config(
        dataset="imagenet2012",
        normalisation="imagenet",
        augmentation="resized_crop",
        network="resnet101",
        activation="relu",
        components=2,
        cuts="infopro",
        rule="infopro",
        epochs=90,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.05,
        schedule="epoch_cosine",
        weight_decay=1e-4,
        updates_per_call=8,
    )
    config = with_variant(
        config,
        variant,
        {
            "resnet152": {"network": "resnet152"},
            "resnext101": {"network": "resnext101", **SMALL_BATCHES},
            "vgg13": {"network": "vgg13", "components": 10, "rule": "greedy", **SMALL_BATCHES},
            "greedy": {"rule": "greedy"},
            "predsim": {"rule": "predsim"},
            "k4": {"components": 4},
            "man_cuts": {"cuts": "man"},
            "sequel_cuts": {"cuts": "man++"},
            "man": {"momentum": True},
            "average_only": {"momentum": True, "momentum_biases": 0},
            "copied": {"momentum": True, "momentum_biases": 0, "momentum_decay": 0.0},
            "remat": {"remat": True},
            "smoke": {
                **{name: SMOKE[name] for name in ("dataset", "augmentation", "batch_size", "epochs")},
                "normalisation": "unit_range",
                "network": "resnet8",
                "residual": "standard",
                "width_factor": 0.5,
                "cuts": "even",
            },
            "backprop": {"rule": "greedy", "components": 1, "cuts": "even"},
        },
    )
    if config.rule == "infopro":
        config.infopro_first = config.infopro_last = WEIGHTS.get(config.network, "5,0.75")
    return config
