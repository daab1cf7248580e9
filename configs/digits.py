"""Associated Learning on scikit-learn's digits: the default run, on embedded data."""

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
