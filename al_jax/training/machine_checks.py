"""Configurations of learning machines that are refused before anything is compiled."""

from al_jax.training.config import HIDDEN, MACHINES, Config
from al_jax.training.derived import units_of
from al_jax.training.errors import ConfigError

NETWORKS = ("mlp", "lenet")
ONE_WIDTH = ("decision_linear", "neural_decision")


def validate_machine(config: Config) -> None:
    """Raises `ConfigError` for what a learning machine cannot do, or what only one can."""
    if config.rule not in MACHINES:
        if config.network == "lenet":
            raise ConfigError(f"config.network is 'lenet', which is for learning machines: rule is {config.rule}")
        return
    if config.network not in NETWORKS:
        raise ConfigError(f"config.network is {config.network!r}: rule={config.rule} trains {' or '.join(NETWORKS)}")
    if config.network == "lenet" and config.rule not in HIDDEN:
        raise ConfigError(f"config.network is 'lenet': rule={config.rule} has layers of its own, leave it 'mlp'")
    if not units_of(config) or min(units_of(config)) < 1:
        raise ConfigError(f"config.units is {config.units!r}: it must be at least one whole number above 0")
    if config.rule in ONE_WIDTH and len(units_of(config)) != 1:
        raise ConfigError(f"config.units is {config.units!r}: rule={config.rule} has one hidden width")
    if config.rule == "evolution" and config.population % 2:
        raise ConfigError(f"config.population is {config.population}: evolution draws pairs, so it must be even")
    if config.rule == "target_propagation" and len(units_of(config)) < 2:
        raise ConfigError(f"config.units is {config.units!r}: target propagation needs at least two hidden layers")
    if config.alternate and config.epochs == 1:
        raise ConfigError(
            "config.epochs is 1, and the first epoch of alternate=true is for the inverses alone: train for 2 or more"
        )
