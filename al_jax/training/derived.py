"""What the fields of a configuration say: those written as lists of numbers or names, and what several say together."""

from al_jax.training.config import PUBLISHED_CUTS, Config
from al_jax.training.errors import ConfigError


def units_of(config: Config) -> tuple[int, ...]:
    """Units of a machine's hidden layers."""
    return _numbers(config, "units")


def depth(config: Config) -> int:
    """The number of components that train separately."""
    return 1 if config.rule == "backprop" or config.leak else config.components


def stages(config: Config) -> int:
    """The number of stages of the pipeline."""
    return config.devices // config.data_parallel


def epochs_of_layers(config: Config) -> int:
    """The epochs in which layers learn: every other one where they take turns with their inverses."""
    return max(1, config.epochs // 2) if config.alternate else config.epochs


def cuts_of(config: Config) -> tuple[int, ...] | None:
    """Layers of each component as the config gives them, None where it leaves them to the network or its sources."""
    named = ("even", "memory", *PUBLISHED_CUTS)
    return None if config.cuts in named else _numbers(config, "cuts", named)


def weights_of(config: Config, field: str) -> tuple[float, float]:
    """Two weights, as `5,0.5`; raises `ConfigError` for anything else."""
    try:
        first, second = map(float, config[field].split(","))
    except ValueError:
        raise ConfigError(f"config.{field} is {config[field]!r}: it must be two numbers, as in '5,0.5'") from None
    if not all(0 <= weight < float("inf") for weight in (first, second)):
        raise ConfigError(f"config.{field} is {config[field]!r}: weights must be numbers of at least 0")
    return first, second


def shares_of(config: Config) -> tuple[float, ...] | None:
    """How far each component's weights are from infopro_first to infopro_last, None for evenly; or `ConfigError`."""
    if config.infopro_shares == "even":
        return None
    try:
        shares = tuple(map(float, config.infopro_shares.split(",")))
    except ValueError:
        shares = ()
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise ConfigError(
            f"config.infopro_shares is {config.infopro_shares!r}: it must be 'even' or numbers from 0 to 1, as in "
            "'0,0.1'"
        )
    return shares


def hidden_of_bridges(config: Config) -> tuple[str, ...]:
    """What the hidden units of each component's bridge are; or `ConfigError`."""
    names = tuple(config.bridge_hidden.split(","))
    if not set(names) <= {"sigmoid", "elu"} or len(names) not in (1, config.components):
        raise ConfigError(
            f"config.bridge_hidden is {config.bridge_hidden!r}: it must be sigmoid, elu, or one of them for each of "
            f"{config.components} components, separated by commas"
        )
    return names if len(names) == config.components else names * config.components


def partition_of(config: Config) -> tuple[int, ...] | None:
    """Components of each stage as the config gives them, None for an even partition and for one to be measured."""
    return None if config.partition in ("even", "auto") else _numbers(config, "partition")


def freeze_indices(config: Config) -> tuple[int, ...]:
    """Indices, from 0, of the components that stay as they are."""
    return tuple(number - 1 for number in _numbers(config, "freeze"))


def _numbers(config: Config, field: str, named: tuple[str, ...] = ()) -> tuple[int, ...]:
    """Whole numbers as the config gives them; the field may also be one of the names, which the caller looks for."""
    try:
        return tuple(int(number) for number in config[field].split(",") if number.strip())
    except ValueError:
        names = "".join(f"{name!r}, " for name in named) + "or " * bool(named)
        raise ConfigError(
            f"config.{field} is {config[field]!r}: it must be {names}whole numbers separated by commas"
        ) from None
