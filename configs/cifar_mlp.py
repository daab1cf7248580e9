"""Associated Learning on CIFAR: the paper's MLP, two components of 3000 units, codes of 3000, bridges of 15000.

    python train.py --config=configs/cifar_mlp.py --config.data_dir=DIR --workdir=runs/cifar_mlp
    python train.py --config=configs/cifar_mlp.py:cifar100 ...          CIFAR-100
    python train.py --config=configs/cifar_mlp.py:backprop ...          the same inference network as one component
    python train.py --config=configs/cifar_mlp.py:authors ...           the authors' recipe, 200 epochs
    python train.py --config=configs/cifar_mlp.py:authors_backprop ...  and their baseline
    python train.py --config=configs/cifar_mlp.py:smoke                 a small network on embedded digits

Variants add up, as in `:cifar100,short,backprop`.

Not run at its full length yet. Codes of 3000 units decode after 200 updates at 3e-4, and are stranded at 1e-3 (80 % of
the classes after 1000 updates).
"""

from al_jax.training.config import default_config, with_variant
from al_jax.training.recipes import AUTHORS_CIFAR, BACKPROP, CIFAR, SMOKE


def get_config(variant=""):
    config = default_config(
        **CIFAR,
        components=2,
        width=3000,
        code=3000,
        batch_size=128,
        learning_rate=3e-4,
        codes="pretrained",
        code_updates=1000,
        code_learning_rate=3e-4,
    )
    return with_variant(
        config,
        variant,
        {
            "smoke": {**SMOKE, "width": 64},
            "cifar100": {"dataset": "cifar100"},
            "short": {"epochs": 3},
            "authors": AUTHORS_CIFAR,
            "authors_backprop": {**AUTHORS_CIFAR, **BACKPROP},
            "backprop": BACKPROP,
        },
    )
