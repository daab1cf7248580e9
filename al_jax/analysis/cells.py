"""A list of runs, one after another: every cell of the tables, each with several seeds.

    python -m al_jax.analysis.cells [CONFIG[:VARIANT] ...] [--seeds 3] [--minutes 9] [--runs runs] [--results results]

Without a config it works on all cells of Tables 2 to 4, the most informative first. What `results/NAME.json` has
already is not run again; `configs/cifar_cnn.py:cifar100,short` is `cifar_cnn_cifar100_short`. Every run is inspected
when it is done, and recorded with the other seeds of its config. The list can be stopped at any moment and takes up
where it was; `--minutes` stops it by itself, after a checkpoint. What follows `--` goes to train.py, and can only be
fields that do not change what is trained: `-- --config.data_dir=DIR`. With `--together` the seeds of a config are one
run, which trains them under vmap on an accelerator.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from al_jax.analysis.inspect import inspect
from al_jax.analysis.published import TABLES, name_of, with_variants
from al_jax.analysis.results import FREE, record, seeds_of
from al_jax.data import DataError
from al_jax.training.config import MACHINES
from al_jax.training.errors import ConfigError, RunError
from al_jax.training.records import read_json

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
GRACE = 300.0  # seconds that a stopped run has for its checkpoint
LONGEST_WAIT = 1e7  # seconds, since systems refuse to wait for infinity
ORDER = ((), ("backprop",), ("authors",), ("authors_backprop",))


class Stopped(Exception):
    """The time is over, or somebody stopped the list."""


class Task(NamedTuple):
    """One run of a config: its workdir and the seeds in it."""

    config: str
    workdir: Path
    seed: int
    num_seeds: int

    @property
    def trained(self) -> bool:
        return (self.workdir / "summary.json").exists()

    @property
    def inspected(self) -> bool:
        """Whether nothing is left to measure; of learning machines `inspect` measures nothing."""
        rule = read_json(self.workdir / "summary.json")["config"]["rule"]
        return rule in MACHINES or (self.workdir / "analysis.json").exists()

    def command(self, arguments: Sequence[str]) -> list[str]:
        own = [f"--config={self.config}", f"--config.seed={self.seed}", f"--config.num_seeds={self.num_seeds}"]
        return [sys.executable, str(TRAIN), *own, *arguments, f"--workdir={self.workdir}"]


def all_cells() -> list[str]:
    """Every cell of Tables 2 to 4: first what is ours and a fair backprop, and within that CIFAR before MNIST."""
    rows = [row for number in (3, 4, 2) for row in TABLES[number][1]]
    cells = [with_variants(row.config, *arm) for arms in (ORDER[:2], ORDER[2:]) for row in rows for arm in arms]
    return [f"configs/{stem}.py{colon}{variants}" for stem, colon, variants in (cell.partition(":") for cell in cells)]


def tasks_of(config: str, runs: Path, seeds: int, together: bool) -> list[Task]:
    """The runs of one cell."""
    name = name_of(config)
    if together:
        return [Task(config, runs / f"{name}-0-{seeds - 1}", 0, seeds)]
    return [Task(config, runs / f"{name}-{seed}", seed, 1) for seed in range(seeds)]


def work(configs: Sequence[str], arguments: Sequence[str], given: argparse.Namespace) -> None:
    """Works through the cells until every one is recorded with so many seeds.

    Raises:
      Stopped: before that; the same call continues.
      RunError: a run failed, its own message stands above; or there is no train.py to run.
    """
    _refuse(arguments)
    if not TRAIN.exists():
        raise RunError("the list runs train.py of a clone of the repository, and there is none beside this package")
    deadline = time.monotonic() + 60 * given.minutes
    for config in configs:
        path = given.results / f"{name_of(config)}.json"
        if path.exists() and len(seeds_of(read_json(path)["runs"])) >= given.seeds:
            continue
        tasks = tasks_of(config, given.runs, given.seeds, given.together)
        for task in tasks:
            if not task.trained:
                print(task.workdir, flush=True)
                _run(task.command(arguments), deadline)
            if not task.inspected:
                _check(deadline)
                inspect(task.workdir)
        record(path, [task.workdir for task in tasks])
        print(path, flush=True)


def _refuse(arguments: Sequence[str]) -> None:
    """Refuses fields that would make another network or training of what stands under the config's name."""
    for argument in arguments:
        field = argument.removeprefix("--config.").split("=", 1)[0]
        if not argument.startswith("--config.") or field not in FREE:
            raise ConfigError(f"{argument}: only fields that change no result may be given, {', '.join(sorted(FREE))}")


def _check(deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise Stopped


def _run(command: Sequence[str], deadline: float) -> None:
    """Runs a command to its end; at the deadline, or on a signal, it is asked once to save and stop."""
    _check(deadline)
    # In a session of its own, a Ctrl-C in the terminal reaches the child only through us.
    with subprocess.Popen(command, start_new_session=True) as process:
        stopped = False
        try:
            process.wait(min(deadline - time.monotonic(), LONGEST_WAIT))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            stopped = True
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
    if process.returncode in (128 + signal.SIGTERM, 128 + signal.SIGINT) or (stopped and process.returncode < 0):
        raise Stopped
    if process.returncode:
        raise RunError(f"{' '.join(command)} failed with exit status {process.returncode}")


def interrupt(*_) -> None:
    """What a list does on a signal: as on Ctrl-C, its run saves and stops."""
    raise KeyboardInterrupt


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where runs and results lie and how long to work, for every command that calls `work`."""
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--together", action="store_true")


def main() -> None:
    argv = sys.argv[1:]
    end = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(prog="python -m al_jax.analysis.cells", description="A list of runs.")
    parser.add_argument("configs", nargs="*", default=all_cells())
    parser.add_argument("--seeds", type=int, default=3)
    add_options(parser)
    given = parser.parse_args(argv[:end])
    if given.seeds < 1:
        parser.error(f"--seeds is {given.seeds}: it must be at least 1")
    signal.signal(signal.SIGTERM, interrupt)
    work(given.configs, argv[end + 1 :], given)


if __name__ == "__main__":
    try:
        main()
    except (Stopped, KeyboardInterrupt):
        print("stopped; the same command continues", flush=True)
    except (RunError, DataError) as error:
        sys.exit(f"error: {error}")
