"""Associated Learning on scikit-learn's digits: the default run, on embedded data.

    python train.py

Four components of 128 units with codes of 128, bridges of 640, Adam 1e-3 with cosine decay, batches of 32, 60 epochs.

Result: 98.61 ± 0.28 % test accuracy (seeds 0, 1, 2: 98.89, 98.61, 98.33; 360 held-out images, last epoch), 100.00 % on
the training set; about 20 seconds a seed, compilation included, on 2 cores of an Intel Xeon (`results/digits.json`).
"""

from al_jax.training.config import default_config, with_variant


def get_config(variant=""):
    config = default_config()
    return with_variant(
        config,
        variant,
        {
            "smoke": {"epochs": 2, "width": 32, "code": 32},
            "backprop": {"rule": "backprop", "activation": "relu"},
        },
    )
