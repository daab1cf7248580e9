"""Associated Learning on Fashion-MNIST with the MLP of `configs/mnist_mlp.py`."""

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
