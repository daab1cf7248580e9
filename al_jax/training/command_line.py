"""The command line of train.py: flags with clear refusals, and signals that ask a run to stop."""

import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from al_jax.training.config import default_config, nearest
from al_jax.training.errors import ConfigError

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def parser(default: Path) -> Callable[[Sequence[str]], list[str]]:
    """The function that defines and parses --config and --workdir, for `absl.app.run`.

    It raises `ConfigError` for an unknown field or flag, a value of the wrong type, or a missing config file.
    """

    def parse(argv: Sequence[str]) -> list[str]:
        sys.argv = argv = [argv[0], *_file_first(argv[1:])]  # config_flags reads sys.argv, not what it is given
        _refuse_unknown(argv[1:], default.parent)
        try:
            # The definition reads the command line too, so it must not happen before the check above.
            config_flags.DEFINE_config_file("config", str(default), "A file with get_config(variant), and :VARIANT.")
            flags.DEFINE_string("workdir", None, "Where the run's files go; by default a new folder under runs/.")
            rest = flags.FLAGS(argv)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(_explain(str(error))) from error
        if len(rest) > 1:
            raise ConfigError(f"unknown argument {rest[1]!r}: write fields as --config.FIELD=VALUE")
        return rest

    return parse


def _file_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with the config file before its fields, as ml_collections wants them."""
    joined = re.sub(r"(^|\n)(--?config)\n", r"\1\2=", "\n".join(arguments))  # --config FILE is --config=FILE
    return sorted(joined.split("\n") if joined else [], key=lambda argument: not re.match("--?config=", argument))


def _refuse_unknown(arguments: Sequence[str], configs: Path) -> None:
    fields = default_config().keys()
    for argument in arguments:
        if (match := re.match(r"--?config\.([^=]*)", argument)) and match[1] not in fields:
            raise ConfigError(f"there is no field config.{match[1]}{nearest(match[1], fields)}")
        if (match := re.match(r"--?config=([^:]*)", argument)) and not Path(match[1]).is_file():
            known = ", ".join(sorted(f"{configs.name}/{path.name}" for path in configs.glob("*.py")))
            raise ConfigError(f"there is no config file {match[1]}: the project's own are {known}")


def _explain(message: str) -> str:
    wrong = re.match(r"flag --config\.(\w+)=(.*?): ", message)
    if wrong:
        return f"config.{wrong[1]} is {wrong[2]!r}: it must be {KINDS[type(default_config()[wrong[1]])]}"
    return message.splitlines()[0]


class StopRequest:
    """While open, SIGTERM and the first Ctrl-C only note that the run shall stop; a second one interrupts at once.

    Calling it tells whether a signal came, and `signal` which one.
    """

    def __init__(self):
        self.signal: int | None = None

    def __enter__(self):
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.signal is not None

    def _note(self, number, frame):
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
