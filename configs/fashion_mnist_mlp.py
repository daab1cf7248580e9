"""Associated Learning on Fashion-MNIST with the MLP of `configs/mnist_mlp.py`.

    python train.py --config=configs/fashion_mnist_mlp.py --config.data_dir=DIR --workdir=runs/fashion_mnist_mlp
    python train.py --config=configs/fashion_mnist_mlp.py:backprop ...   the same network as one component
    python train.py --config=configs/fashion_mnist_mlp.py:smoke          a small network on embedded digits

Result: not measured yet with this schedule. Known from MNIST: Adam at 1e-3 is too fast for codes of 1024 (batches of
128, one seed: after 2 epochs the autoencoder stays at 5e-3 and validation accuracy at 88 %, against 95 % at 3e-4).
"""

from al_jax.training.config import default_config, with_variant


def get_config(variant=""):
    config = default_config(
        dataset="fashion_mnist",
        normalisation="subtract_mean",
        components=2,
        width=1024,
        code=1024,
        epochs=20,
        batch_size=32,
        learning_rate=1e-4,
    )
    return with_variant(
        config,
        variant,
        {
            "smoke": {"dataset": "digits", "width": 64, "code": 64, "epochs": 2},
            "backprop": {"rule": "backprop", "activation": "relu"},
        },
    )
