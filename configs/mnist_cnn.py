"""Associated Learning on MNIST: the paper's convolutional network, four components of two convolutions, codes of 256.

python train.py --config=configs/mnist_cnn.py --config.data_dir=DIR --workdir=runs/mnist_cnn
python train.py --config=configs/mnist_cnn.py:backprop ...          the same inference network as one component
python train.py --config=configs/mnist_cnn.py:contrast ...          a loss that also tells codes apart
python train.py --config=configs/mnist_cnn.py:authors ...           the authors' recipe, 200 epochs
python train.py --config=configs/mnist_cnn.py:authors_backprop ...  and their baseline
python train.py --config=configs/mnist_cnn.py:smoke                 a small network on embedded digits

Not run at its full length yet: its fields are those of the CIFAR network, its learning rate is a guess. Result after 2
epochs (`:short`, seeds 0 and 1, one core of an Intel Xeon, 13 minutes each, pauses included): twice 99.26 % of the test
images, by the first 1 to 3 of 4 components 97.8, 98.7 and 99.2; backprop 99.19 (seed 0), in 20 minutes
(`results/mnist_cnn_short*.json`).
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
            "authors": AUTHORS,
            "contrast": {"associated_loss": "contrast"},
            "authors_backprop": {**AUTHORS, **BACKPROP},
            "backprop": BACKPROP,
            "smoke": {**SMOKE, "width_factor": 0.25},
            "short": {"epochs": 2},
        },
    )
