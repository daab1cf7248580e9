"""Associated Learning on MNIST: the paper's convolutional network, four components of two convolutions, codes of 256.

python train.py --config=configs/mnist_cnn.py --config.data_dir=DIR --workdir=runs/mnist_cnn
python train.py --config=configs/mnist_cnn.py:backprop ...          the same inference network as one component
python train.py --config=configs/mnist_cnn.py:authors ...           the authors' recipe, 200 epochs
python train.py --config=configs/mnist_cnn.py:authors_backprop ...  and their baseline
python train.py --config=configs/mnist_cnn.py:smoke                 a small network on embedded digits

Not run yet but for `smoke` (`results/mnist_cnn_smoke*.json`): its fields are those of the CIFAR network, its learning
rate is a guess.
"""

from al_jax.training.config import default_config, with_variant
from al_jax.training.recipes import AUTHORS, BACKPROP, POOLED, SMOKE


def get_config(variant=""):
    config = default_config(
        dataset="mnist",
        **POOLED,
        network="vanilla_cnn",
        code=256,
        epochs=20,
        learning_rate=1e-3,
    )
    return with_variant(
        config,
        variant,
        {
            "smoke": {**SMOKE, "width_factor": 0.25},
            "short": {"epochs": 2},
            "authors": AUTHORS,
            "authors_backprop": {**AUTHORS, **BACKPROP},
            "backprop": BACKPROP,
        },
    )
