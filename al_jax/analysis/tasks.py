"""Runs that a list works through, so many at a time, each in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from al_jax.analysis.published import name_of
from al_jax.analysis.results import analysed
from al_jax.training.config import MACHINES
from al_jax.training.records import read_json

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
GRACE = 300.0  # seconds that a stopped run has for its checkpoint
POLL = 0.2  # seconds


class Stopped(Exception):
    """The time is over, or somebody stopped the list."""


class Task(NamedTuple):
    """One run of a config: its workdir and the seeds in it."""

    config: str
    workdir: Path
    seed: int
    num_seeds: int

    @classmethod
    def of(cls, config: str, runs: Path, seed: int, num_seeds: int = 1) -> "Task":
        """The run of these seeds, where every list has it."""
        last = f"-{seed + num_seeds - 1}" * (num_seeds > 1)
        return cls(config, runs / f"{name_of(config)}-{seed}{last}", seed, num_seeds)

    @property
    def summary(self) -> Path:
        return self.workdir / "summary.json"

    @property
    def trained(self) -> bool:
        return self.summary.exists()

    @property
    def inspected(self) -> bool:
        """Whether nothing is left to measure; of learning machines `inspect` measures nothing."""
        summary = read_json(self.summary)
        return summary["config"]["rule"] in MACHINES or analysed(self.workdir, summary)

    def command(self, arguments: Sequence[str]) -> list[str]:
        """What is to be done next, nothing where all is done."""
        if self.trained:
            return [] if self.inspected else [sys.executable, "-m", "al_jax.analysis.inspect", str(self.workdir)]
        own = [f"--config={self.config}", f"--config.seed={self.seed}", f"--config.num_seeds={self.num_seeds}"]
        return [sys.executable, str(TRAIN), *own, *arguments, f"--workdir={self.workdir}"]


def work_through(
    tasks: Sequence[Task], arguments: Sequence[str], jobs: int, over: Callable[[], bool], failed: dict[Path, int]
) -> Iterator[Task]:
    """Yields each task when it is done; so many are worked on at a time, each in a process of its own.

    A run that fails does not hold the others up: its workdir and exit status go into `failed`.
    """
    waiting, running = list(tasks), dict[Task, subprocess.Popen]()
    # A process that shares a device must not take all of its memory.
    environment = {**os.environ, **({"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} if jobs > 1 else {})}
    try:
        while waiting or running:
            if over():
                raise Stopped
            while waiting and len(running) < jobs:
                task = waiting.pop(0)
                if command := task.command(arguments):
                    print(task.workdir, flush=True)
                    # In a session of its own, a Ctrl-C in the terminal reaches it only through us.
                    running[task] = subprocess.Popen(command, start_new_session=True, env=environment)
                else:
                    yield task
            for task in [task for task, process in running.items() if process.poll() is not None]:
                status = running.pop(task).returncode
                if status in (128 + signal.SIGTERM, 128 + signal.SIGINT):
                    raise Stopped
                if status:
                    failed[task.workdir] = status
                else:
                    waiting.insert(0, task)  # there may be more to do of it
            time.sleep(POLL)
    finally:
        _stop(running.values())


def _stop(processes: Iterable[subprocess.Popen]) -> None:
    """Asks processes once to save and stop."""
    processes, until = list(processes), time.monotonic() + GRACE
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
