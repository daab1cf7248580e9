"""A list of runs, one after another: every cell of the tables, each with several seeds.

    python -m al_jax.analysis.cells [CONFIG[:VARIANT] ...] [--seeds 3] [--minutes 9] [--runs runs] [--results results]

Runs what has no summary yet, in the order given (without any config: all cells of Tables 2 to 4, the most informative
first), seed after seed. It can be stopped at any moment and takes up where it
was; `--minutes` stops it by itself, after a checkpoint. When all seeds of a config are done, they are inspected and
recorded in `results/NAME.json`, where `configs/cifar_cnn.py:cifar100,short` is `cifar_cnn_cifar100_short`. Everything
after `--` goes to train.py: `-- --config.data_dir=DIR`. With `--together` the seeds of a config are one run, which
trains them under vmap on an accelerator.
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
from al_jax.analysis.published import ARMS, TABLES, name_of, with_variants
from al_jax.analysis.results import record
from al_jax.data import DataError
from al_jax.training.errors import RunError

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
GRACE = 300  # seconds that a stopped run has for its checkpoint


class Task(NamedTuple):
    """One run of a config: its workdir and the seeds in it."""

    config: str
    workdir: Path
    seed: int
    num_seeds: int

    @property
    def done(self) -> bool:
        return (self.workdir / "summary.json").exists()

    def command(self, arguments: Sequence[str]) -> list[str]:
        own = [f"--config={self.config}", f"--config.seed={self.seed}", f"--config.num_seeds={self.num_seeds}"]
        return [sys.executable, str(TRAIN), *own, *arguments, f"--workdir={self.workdir}"]


def all_cells() -> list[str]:
    """Every cell of Tables 2 to 4: first what is ours and a fair backprop, and within that CIFAR before MNIST."""
    rows = [row for number in (3, 4, 2) for row in TABLES[number][1]]
    order = ((), ("backprop",), ("authors",), ("authors_backprop",))
    assert sorted(order) == sorted(ARMS.values())
    cells = [with_variants(row.config, *arm) for arms in (order[:2], order[2:]) for row in rows for arm in arms]
    return [f"configs/{cell.replace(':', '.py:') if ':' in cell else cell + '.py'}" for cell in cells]


def tasks_of(config: str, runs: Path, seeds: int, together: bool) -> list[Task]:
    """The runs of one cell."""
    name = name_of(config)
    if together:
        return [Task(config, runs / f"{name}-0-{seeds - 1}", 0, seeds)]
    return [Task(config, runs / f"{name}-{seed}", seed, 1) for seed in range(seeds)]


def work(configs: Sequence[str], arguments: Sequence[str], given: argparse.Namespace) -> bool:
    """Works through the cells; returns whether all of them are recorded.

    Raises:
      RunError: a run failed; its own message stands above.
    """
    deadline = time.monotonic() + 60 * given.minutes
    for config in configs:
        tasks = tasks_of(config, given.runs, given.seeds, given.together)
        path = given.results / f"{name_of(config)}.json"
        for task in tasks:
            if task.done:
                continue
            print(f"{task.workdir}", flush=True)
            if not _run(task.command(arguments), deadline):
                return False
        if not path.exists():
            data_dir = next((a.split("=", 1)[1] for a in arguments if a.startswith("--config.data_dir=")), "")
            for task in tasks:
                inspect(task.workdir, data_dir)
            record(path, [task.workdir for task in tasks])
            print(f"{path}", flush=True)
    return True


def _run(command: Sequence[str], deadline: float) -> bool:
    """Whether the command ended by itself; at the deadline it is asked to save and stop."""
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    with subprocess.Popen(command) as process:
        try:
            code = process.wait(left)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.send_signal(signal.SIGTERM)
            process.wait(GRACE)
            return process.returncode == 0
    if code == 128 + signal.SIGTERM or code == 128 + signal.SIGINT:
        return False
    if code:
        raise RunError(f"{' '.join(command)} failed with exit status {code}")
    return True


def main() -> None:
    argv = sys.argv[1:]
    end = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(prog="python -m al_jax.analysis.cells", description="A list of runs.")
    parser.add_argument("configs", nargs="*", default=all_cells())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--together", action="store_true")
    given = parser.parse_args(argv[:end])
    if not work(given.configs, argv[end + 1 :], given):
        print("stopped; the same command continues", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (RunError, DataError) as error:
        sys.exit(f"error: {error}")
