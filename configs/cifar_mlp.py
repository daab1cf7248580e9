"""Associated Learning on CIFAR: the paper's MLP, two components of 3000 units, codes of 3000, bridges of 15000.

    python train.py --config=configs/cifar_mlp.py --config.data_dir=DIR --workdir=runs/cifar_mlp
    python train.py --config=configs/cifar_mlp.py:cifar100 ...          CIFAR-100
    python train.py --config=configs/cifar_mlp.py:backprop ...          the same inference network as one component
    python train.py --config=configs/cifar_mlp.py:contrast ...          a loss that also tells codes apart
    python train.py --config=configs/cifar_mlp.py:authors ...           the authors' recipe, 200 epochs
    python train.py --config=configs/cifar_mlp.py:authors_backprop ...  and their baseline
    python train.py --config=configs/cifar_mlp.py:smoke                 a small network on embedded digits

Variants add up, in any order, as in `:cifar100,backprop,short` or `:authors,short`.

How it was chosen: three random learning rates, the same for both rules, on 5000 validation images, seed 0, after 2
epochs of 10,000 images (`python -m al_jax.analysis.search`, `results/search/cifar_mlp.json`): with 4.0e-5, 2.8e-4 and
6.8e-4 Associated Learning reaches 33.0, 28.4 and 15.2 %, backprop 35.6, 33.8 and 30.0 %. Both take the lowest, at the
edge of what was searched. In runs that were not recorded, codes of 3000 units decode after 200 updates at 3e-4, and
never at 1e-3; those of 100 classes decode after 2000, not yet after 1000 (99 and 91 % of them). `short` is 4 epochs of
10,000 images.

Result (last epoch, seed 0, an NVIDIA H200 shared with three other runs): 62.90 % test accuracy in 6 minutes, backprop
59.72 % in 4 (`results/cifar_mlp*.json`). Short runs with contrast (`al.code_contrast` in place of squares alone) reach
40.1 % on CIFAR-10 (squares 34.2, backprop 38.8; seed 0, the other two seeds 0 and 1) and 11.4 % on CIFAR-100 (squares
5.8, backprop 13.3; seed 0).
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
        learning_rate=4e-5,
        codes="pretrained",
        code_updates=1000,
        code_learning_rate=3e-4,
    )
    return with_variant(
        config,
        variant,
        {
            "cifar100": {"dataset": "cifar100", "code_updates": 2000},
            "authors": AUTHORS_CIFAR,
            "contrast": {"associated_loss": "contrast"},
            "authors_backprop": {**AUTHORS_CIFAR, **BACKPROP},
            "backprop": BACKPROP,
            "smoke": {**SMOKE, "width": 64, "learning_rate": 1e-3, "code_learning_rate": 3e-3, "epochs": 30},
            "short": {"epochs": 4, "examples": 10_000},
        },
    )
