"""The folder of a run: whose it is, and that no other process or run writes there."""

import contextlib
import datetime
import fcntl
import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from al_jax.engines import distributed
from al_jax.training import company
from al_jax.training.config import Config, differences
from al_jax.training.errors import ConfigError, RunError
from al_jax.training.records import read_json


def refuse_other_run(config: Config, workdir: Path) -> None:
    """Refuses a workdir whose run was started with another configuration."""
    if (path := workdir / "config.json").exists():
        changed = differences(read_json(path), json.loads(config.to_json()))
        if changed:
            raise ConfigError(
                f"{workdir} holds a run with another configuration ({'; '.join(changed)}): use another --workdir, or "
                "the configuration it was started with"
            )


def new_workdir(parent: Path, name: str) -> Path:
    """Creates a folder that no other run has, named after the config and the time.

    Raises:
      RunError: it cannot be created.
    """
    stamp = f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    for suffix in itertools.count(1):
        workdir = parent / (stamp if suffix == 1 else f"{stamp}-{suffix}")
        try:
            workdir.mkdir(parents=True)
            return workdir
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(f"cannot create {workdir} ({error.strerror}): choose a --workdir") from error
    raise AssertionError("unreachable")


@contextlib.contextmanager
def claimed(config: Config, workdir: Path) -> Iterator[Path]:
    """Makes the workdir this run's alone until the end.

    Yields:
      Where this process writes: the workdir in the first one, in any other a folder that goes when it leaves.

    Raises:
      RunError: as `_claimed` in the first process.
    """
    with contextlib.ExitStack() as until_the_end:

        def claim():
            until_the_end.enter_context(_claimed(config, workdir))

        distributed.on_first(claim)
        if not distributed.first():
            workdir = Path(until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="al_jax-")))
            company.SCRATCH.append(workdir)
        yield workdir


@contextlib.contextmanager
def _claimed(config: Config, workdir: Path) -> Iterator[None]:
    """Locks the workdir against other processes.

    Raises:
      RunError: it cannot be written, another process works in it, or it holds another run.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / ".lock").open("w")
    except OSError as error:
        raise RunError(f"cannot write to the workdir {workdir} ({error.strerror}): choose another --workdir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a killed process lets go of it by itself
        except BlockingIOError as error:
            raise RunError(
                f"another process is training in {workdir}: wait for it, or use another --workdir"
            ) from error
        except OSError as error:  # as on network file systems without locks
            raise RunError(f"cannot lock the workdir {workdir} ({error.strerror}): choose another --workdir") from error
        refuse_other_run(config, workdir)
        yield
