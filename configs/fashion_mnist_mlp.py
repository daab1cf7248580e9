"""Associated Learning on Fashion-MNIST: four components of 256 units, codes of 256, bridges of 1280.

    python train.py --config=configs/fashion_mnist_mlp.py --config.data_dir=DIR --workdir=runs/fashion_mnist_mlp
    python train.py --config=configs/fashion_mnist_mlp.py:backprop ...   the same network as one component
    python train.py --config=configs/fashion_mnist_mlp.py:smoke          a small network on embedded digits

A network for a laptop: a seventh of the parameters of `configs/mnist_mlp.py`, with the recipe that was chosen there.
Result: 88.13 ± 0.11 % test accuracy after 5 epochs (seeds 0 to 2, last epoch), 1.4 minutes a seed on one core
of an AMD EPYC (`results/fashion_mnist_mlp.json`).
"""

from al_jax.training.config import default_config, with_variant


def get_config(variant=""):
    config = default_config(
        dataset="fashion_mnist",
        normalisation="standardise",
        components=4,
        width=256,
        code=256,
        epochs=5,
        batch_size=128,
        learning_rate=1e-3,
        autoencoder_rate=0.5,
    )
    return with_variant(
        config,
        variant,
        {
            "backprop": {"rule": "backprop", "activation": "relu"},
            "smoke": {"dataset": "digits", "width": 64, "code": 64, "batch_size": 32, "epochs": 30},
        },
    )
