"""Associated Learning on CIFAR: the paper's VGG, three components of two convolutions and one of two dense layers.

    python train.py --config=configs/cifar_vgg.py --config.data_dir=DIR --workdir=runs/cifar_vgg
    python train.py --config=configs/cifar_vgg.py:cifar100 ...          CIFAR-100, codes of 500 in place of 300
    python train.py --config=configs/cifar_vgg.py:backprop ...          the same inference network as one component
    python train.py --config=configs/cifar_vgg.py:contrast ...          a loss that also tells codes apart
    python train.py --config=configs/cifar_vgg.py:authors ...           the authors' recipe, 200 epochs
    python train.py --config=configs/cifar_vgg.py:authors_backprop ...  and their baseline (batch norm, two layers less)
    python train.py --config=configs/cifar_vgg.py:smoke                 a small network on embedded digits

Variants add up, in any order, as in `:cifar100,backprop` or `:authors,short`.

Not run yet but for `smoke` (`results/cifar_vgg_smoke*.json`): the bridges are the CNN's, the learning rate is a
guess.
"""

from al_jax.training.config import default_config, with_variant
from al_jax.training.recipes import AUTHORS_CIFAR, BACKPROP, CIFAR, POOLED, SMOKE

AUTHORS = {**AUTHORS_CIFAR, "batch_norm": False, "l2": 1e-5, "l2_kernels": "convolutions"}


def get_config(variant=""):
    config = default_config(
        **{**POOLED, **CIFAR},
        network="vgg",
        batch_norm=True,
        code=300,
        learning_rate=1e-3,
    )
    return with_variant(
        config,
        variant,
        {
            "cifar100": {"dataset": "cifar100", "code": 500},
            "authors": AUTHORS,
            "contrast": {"associated_loss": "contrast"},
            "authors_backprop": {
                **AUTHORS,
                **BACKPROP,
                "batch_norm": True,
                "dense_norm": True,
                "dense_layers": 0,
                "l2": 5e-4,
            },
            "backprop": BACKPROP,
            "smoke": {**SMOKE, "width_factor": 0.125},
            "short": {"epochs": 2},
        },
    )
