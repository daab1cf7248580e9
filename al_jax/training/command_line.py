"""Command lines: flags with clear refusals, configs by their names, and signals that ask a run to stop."""

import contextlib
import inspect
import os
import re
import runpy
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from al_jax.data import DataError
from al_jax.engines import distributed
from al_jax.signals import answered
from al_jax.training.config import Config, default_config, from_text, nearest, wrong_type
from al_jax.training.errors import ConfigError, RunError
from al_jax.training.limits import with_given

STOPPING = "stopping: what is in progress is done and saved first; Ctrl-C (again) does not wait for it"


def define_workdir() -> None:
    """The flag that train.py has beside --config."""
    flags.DEFINE_string("workdir", None, "Where the run's files go; by default a new folder under runs/.")


def parser(default: Path, define: Callable[[], None] = define_workdir) -> Callable[[Sequence[str]], list[str]]:
    """The function that defines and parses --config and the flags of `define`, for `absl.app.run`.

    It raises `ConfigError` for an unknown field or flag, a value of the wrong type, or a missing config file.
    """

    def parse(argv: Sequence[str]) -> list[str]:
        if {"--help", "-h", "-help"} & set(argv[1:]):
            with listened():
                print(_help(define))
            sys.exit()
        sys.argv = argv = [argv[0], *_file_first(argv[1:])]  # config_flags reads sys.argv, not what it is given
        _refuse_unknown(argv[1:], default.parent)
        try:
            # The definition reads the command line too, so it must not happen before the check above.
            config_flags.DEFINE_config_file("config", str(default), "A file with get_config(variant), and :VARIANT.")
            define()
            rest = flags.FLAGS(argv)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(_explain(error)) from error
        if missing := sorted(set(default_config()) - set(flags.FLAGS.config)):
            raise ConfigError(f"the config file gives no field {missing[0]!r}: let it begin with default_config(...)")
        if len(rest) > 1:
            raise ConfigError(f"unknown argument {rest[1]!r}: write fields as --config.FIELD=VALUE")
        with_given(flags.FLAGS.config, given_fields())
        return rest

    return parse


def given_fields() -> dict[str, Any]:
    """The fields that the command line gives, by name."""
    return {name: flags.FLAGS.config[name] for name in config_flags.get_override_values(flags.FLAGS["config"])}


def chosen_config() -> Config | None:
    """The config with its fields where the command line names a file for it, None where it is the default one."""
    return flags.FLAGS.config if flags.FLAGS["config"].present else None


def _help(define: Callable[[], None]) -> str:
    """What the program says of itself, its flags, and the fields with what the source says of them."""
    others = set(flags.FLAGS)
    define()
    own = [flags.FLAGS[name] for name in flags.FLAGS if name not in others]
    listed = "\n".join(f"--{flag.name:<11}{flag.help}" for flag in own)
    source = inspect.getsource(default_config)
    fields = textwrap.dedent(source[source.index("            # Data.") : source.index("        }\n")])
    doc = (sys.modules["__main__"].__doc__ or "").strip()
    return f"{doc}\n\nFlags beside --config:\n\n{listed}\n\nFields of --config and their defaults:\n\n{fields}"


def _file_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with the config file before its fields, as ml_collections wants them."""
    joined = re.sub(r"(^|\n)(--?config)\n", r"\1\2=", "\n".join(arguments))  # --config FILE is --config=FILE
    return sorted(joined.split("\n") if joined else [], key=lambda argument: not re.match("--?config=", argument))


def _refuse_unknown(arguments: Sequence[str], configs: Path) -> None:
    fields = default_config().keys()
    if len(files := [argument for argument in arguments if re.match("--?config=", argument)]) > 1:
        raise ConfigError(f"{files[0]} and {files[1]} are two config files: give one, with its variants as in :a,b")
    for argument in arguments:
        if (match := re.match(r"--?config\.([^=]*)", argument)) and match[1] not in fields:
            raise ConfigError(f"there is no field config.{match[1]}{nearest(match[1], fields)}")
        if (match := re.match(r"--?config=([^:]*)", argument)) and not Path(match[1]).is_file():
            known = ", ".join(sorted(f"{configs.name}/{path.name}" for path in configs.glob("*.py")))
            raise ConfigError(f"there is no config file {match[1]}: the project's own are {known}")


def _explain(error: Exception) -> str:
    if wrong := re.match(r"flag --config\.(\w+)=(.*?): ", str(error)):
        return str(wrong_type(wrong[1], wrong[2]))
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    if isinstance(cause, ConfigError):
        return str(cause)
    reason = (str(cause).splitlines() or str(error).splitlines() or [type(cause).__name__])[0]
    frames = [frame for frame in traceback.extract_tb(cause.__traceback__) if frame.name in ("get_config", "<module>")]
    inside = [frame for frame in frames if Path(frame.filename).name != "train.py"]
    if not inside:
        return reason
    return f"{inside[-1].filename}, line {inside[-1].lineno}: {type(cause).__name__}: {reason}"


def read_config(spec: str, fields: Mapping[str, str]) -> Config:
    """The config of `FILE.py:VARIANT` with fields given as text.

    Raises:
      ConfigError: there is no such file, variant or field, or a text is not of its field's type.
    """
    path, _, variant = spec.partition(":")
    if not Path(path).is_file():
        raise ConfigError(f"there is no config file {path}")
    try:
        get_config = runpy.run_path(path)["get_config"]
        config = get_config(variant) if variant or inspect.signature(get_config).parameters else get_config()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{path}: {_explain(error)}") from error
    config.update({name: from_text(name, text) for name, text in fields.items()})
    with_given(config, fields)
    return config


def split_arguments(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command's own arguments, and those behind `--`, which are for train.py."""
    end = argv.index("--") if "--" in argv else len(argv)
    return list(argv[:end]), list(argv[end + 1 :])


@contextlib.contextmanager
def listened() -> Iterator[None]:
    """Ends the program without a word where nobody reads its output any more, as `head` after its lines."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains of it at the end
        sys.exit(1)


def command(main: Callable[[], None], *stopping: type[BaseException], again: str = "starts anew") -> None:
    """Runs a command, and says in a sentence why it ended early.

    Args:
      main: the command.
      stopping: what it raises when it is asked to stop, beside `KeyboardInterrupt`.
      again: what it does when it is given again after that.
    """
    try:
        with listened():
            main()
    except (KeyboardInterrupt, *stopping):
        print(f"stopped; the same command {again}", flush=True)
    except (RunError, DataError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: a file cannot be read or written ({error}): choose another")


@contextlib.contextmanager
def stop_request() -> Iterator[Callable[[], int]]:
    """While open, SIGTERM, SIGHUP and the first Ctrl-C only note that the run shall stop; Ctrl-C after that interrupts.

    A second SIGTERM does not: who ends all processes of a service asks a run and its launcher, who asks it again.

    Yields:
      A function that gives the signal's number, 0 before one came.
    """
    noted = []

    def note(number, frame):
        if noted and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not noted and distributed.first():
            with contextlib.suppress(OSError, RuntimeError):  # nobody reads it, or it would be in the middle of a line
                print(STOPPING, file=sys.stderr, flush=True)
        noted.append(number)

    with answered(note):
        yield lambda: noted[0] if noted else 0
