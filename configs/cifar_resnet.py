"""Associated Learning on CIFAR: ResNet-20 and ResNet-32, the stem and three stages as four components.

    python train.py --config=configs/cifar_resnet.py --config.data_dir=DIR --workdir=runs/cifar_resnet
    python train.py --config=configs/cifar_resnet.py:resnet32 ...          32 layers in place of 20
    python train.py --config=configs/cifar_resnet.py:cifar100 ...          CIFAR-100, codes of 500 in place of 300
    python train.py --config=configs/cifar_resnet.py:backprop ...          the same inference network as one component
    python train.py --config=configs/cifar_resnet.py:authors ...           the authors' recipe, 200 epochs
    python train.py --config=configs/cifar_resnet.py:authors_backprop ...  and their baseline
    python train.py --config=configs/cifar_resnet.py:smoke                 a small network on embedded digits

Variants add up, as in `:resnet32,cifar100,short,backprop`.

Not run at its full length yet. What is known comes from ResNet-8 on 10,000 images, 10 epochs, batches of 64, one seed,
as accuracy on 5000 validation images, all with the authors' units (`results/ablations/resnet8_*.json`, with all their
fields; `python -m al_jax.analysis.results table results/ablations/*.json` makes a table): with four components and
bridges pooled to 2x2, 52.8 % with codes online and 53.5 % with codes pre-trained; bridges pooled to 4x4 give 58.9 %, a
convolutional bridge with a global average 51.0 %; a learning rate of 3e-3 in place of 1e-3 gives 62.4 %, backprop on
that network 63.5 %. With standard units, which this config has, two runs that were not recorded gave 62.3 and 63.1 %.
"""

from al_jax.training.config import default_config, names_of_variant, with_variant
from al_jax.training.recipes import AUTHORS_CIFAR, BACKPROP, CIFAR, POOLED, SMOKE

AUTHORS = {**AUTHORS_CIFAR, "residual": "authors", "l2": 1e-4}
# Global average pooling, batch norm in the dense layers, L2 on every kernel (on CIFAR-100 five times as much).
AUTHORS_BACKPROP = {
    **AUTHORS,
    **BACKPROP,
    "learning_rate": 1e-3,
    "bridge": "pooled",
    "pool": 1,
    "dense_norm": True,
    "l2_kernels": "all",
}


def get_config(variant=""):
    config = default_config(
        **{**POOLED, **CIFAR},
        network="resnet20",
        residual="standard",
        code=300,
        learning_rate=3e-3,
    )
    return with_variant(
        config,
        variant,
        {
            "smoke": {**SMOKE, "network": "resnet8"},
            "resnet32": {"network": "resnet32"},
            "cifar100": {"dataset": "cifar100", "code": 500},
            "short": {"epochs": 2},
            "authors": AUTHORS,
            "authors_backprop": {**AUTHORS_BACKPROP, "l2": 5e-4 if "cifar100" in names_of_variant(variant) else 1e-4},
            "backprop": BACKPROP,
        },
    )
