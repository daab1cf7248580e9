"""Associated Learning on CIFAR: the paper's convolutional network, four components of two convolutions.

    python train.py --config=configs/cifar_cnn.py --config.data_dir=DIR --workdir=runs/cifar_cnn
    python train.py --config=configs/cifar_cnn.py:cifar100 ...          CIFAR-100, codes of 500 in place of 256
    python train.py --config=configs/cifar_cnn.py:backprop ...          the same inference network as one component
    python train.py --config=configs/cifar_cnn.py:authors ...           the authors' recipe, 200 epochs
    python train.py --config=configs/cifar_cnn.py:authors_backprop ...  and their baseline
    python train.py --config=configs/cifar_cnn.py:smoke                 a small network on embedded digits

Variants add up, as in `:cifar100,short,backprop`.
"""

from al_jax.training.config import default_config, with_variant
from al_jax.training.recipes import AUTHORS_CIFAR, BACKPROP, SMOKE


def get_config(variant=""):
    config = default_config(
        dataset="cifar10",
        normalisation="standardise",
        augmentation="crop_flip",
        network="vanilla_cnn",
        code=256,
        bridge="pooled",
        pool=4,
        codes="pretrained",
        epochs=100,
        batch_size=128,
        learning_rate=2e-3,
    )
    return with_variant(
        config,
        variant,
        {
            "smoke": {**SMOKE, "width_factor": 0.25},
            "cifar100": {"dataset": "cifar100", "code": 500},
            "short": {"epochs": 5},
            "authors": AUTHORS_CIFAR,
            "authors_backprop": {**AUTHORS_CIFAR, **BACKPROP},
            "backprop": BACKPROP,
        },
    )
