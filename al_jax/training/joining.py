"""Joining the other processes of a run, and agreeing with them on what it is."""

import hashlib
import signal
from pathlib import Path

import jax

from al_jax.engines import distributed, world
from al_jax.training.company import LOST, SAVED, on_abort, this_process
from al_jax.training.config import Config
from al_jax.training.errors import ConfigError, RunError

# Fields that each process may have of its own.
OWN = {"coordinator", "num_processes", "process_id", "data_dir", "start_timeout", "step_timeout", "profile"}


def join(config: Config) -> None:
    """Meets the other processes and gives this one its share of CPU devices; call it before JAX's backend starts.

    Raises:
      RunError: the fields do not fit, or the others did not come.
    """
    try:
        around = world.of_environment()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    coordinator = config.coordinator or around.coordinator
    processes = config.num_processes or around.processes
    process = around.process if config.process_id == -1 else config.process_id
    alone = (
        f"not all processes came to {coordinator} within {config.start_timeout:g} seconds: start each one, with the "
        "same coordinator and its own process_id"
    )
    if coordinator:
        on_abort(alone, status=1)
    try:
        world.start(coordinator, processes, process, config.start_timeout)
    except ValueError as error:
        raise ConfigError(f"config.{error}") from error
    except jax.errors.JaxRuntimeError as error:
        raise RunError(alone) from error
    if distributed.size() > 1:
        likely = "" if distributed.first() else ", most likely process 0 is gone"
        on_abort(f"the runtime aborted, its reason stands above{likely}, so {this_process()} leaves: {SAVED}", LOST)
    elif coordinator:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)  # an abort is its own affair again
    jax.config.update("jax_num_cpu_devices", max(config.devices // distributed.size(), 1))


def agree(config: Config) -> None:
    """Refuses to train with processes of another configuration or program, whose result would be nobody's.

    Raises:
      ConfigError: this process is not as the first one.
    """
    if distributed.size() == 1:
        return
    sources = sorted(Path(__file__).resolve().parents[1].rglob("*.py"))
    program = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    own = {**config.to_dict(), "al_jax": program, "jax": jax.__version__}
    first = distributed.on_first(lambda: own)
    names = sorted((own.keys() | first.keys()) - OWN)
    if other := [f"{name}: {first.get(name)!r} there" for name in names if own.get(name) != first.get(name)]:
        raise ConfigError(
            f"{this_process()} differs from process 0 ({'; '.join(other)}): start all with the same command and code"
        )
