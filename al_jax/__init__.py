"""al_jax: networks that train without end-to-end backpropagation, in JAX and Flax."""

import importlib

from al_jax import machines, networks
from al_jax.components import component, compose, freeze, groups_of
from al_jax.engines import pipelined, sequential
from al_jax.losses import code_contrast, cross_entropy, mean_squared_error
from al_jax.rules import associated, backprop, greedy, infopro, label_codes, leak, momentum, predsim, with_codes
from al_jax.types import Component, ComponentState, Metrics, Network, Signal, Trainer

__all__ = [
    "Component",
    "ComponentState",
    "Metrics",
    "Network",
    "Signal",
    "Trainer",
    "associated",
    "backprop",
    "code_contrast",
    "component",
    "compose",
    "cross_entropy",
    "freeze",
    "greedy",
    "groups_of",
    "infopro",
    "label_codes",
    "leak",
    "load",
    "machines",
    "mean_squared_error",
    "momentum",
    "networks",
    "pipelined",
    "predsim",
    "schedule",
    "sequential",
    "with_codes",
]


def __getattr__(name):
    """What takes long to import, matplotlib and orbax, comes when it is first asked for."""
    if name == "schedule":
        return importlib.import_module("al_jax.schedule")
    if name == "load":
        return importlib.import_module("al_jax.training.load").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
