"""The command line of train.py: flags with clear refusals, and signals that ask a run to stop."""

import re
import signal
from collections.abc import Sequence
from typing import Any

from absl import flags

from al_jax.training.config import default_config, nearest
from al_jax.training.errors import ConfigError

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags.

    Raises:
      ConfigError: an unknown field or flag, a value of the wrong type, or a config file that cannot be read.
    """
    fields = default_config()
    for name in (match[1] for argument in argv[1:] if (match := re.match(r"--config\.([^=]*)", argument))):
        if name not in fields:
            raise ConfigError(f"there is no field config.{name}{nearest(name, fields.keys())}")
    try:
        rest = flags.FLAGS(argv)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(_explain(str(error), fields)) from error
    if len(rest) > 1:
        raise ConfigError(f"unknown argument {rest[1]!r}: write fields as --config.FIELD=VALUE")
    return rest


def _explain(message: str, fields: Any) -> str:
    wrong = re.match(r"flag --config\.(\w+)=(.*?): ", message)
    if wrong:
        kind = KINDS.get(type(fields[wrong[1]]), "of another type")
        return f"config.{wrong[1]} is {wrong[2]!r}: it must be {kind}"
    return message.splitlines()[0]


class until_signal:  # noqa: N801, used as a function
    """While open, SIGTERM and the first Ctrl-C only note that the run shall stop; calling it tells.

    A second Ctrl-C interrupts at once.
    """

    signal: int | None = None

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
