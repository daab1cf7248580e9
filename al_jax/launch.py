"""Starts several processes of train.py on this host, which train one network together.

    python -m al_jax.launch --processes 2 -- --config.engine=pipelined --config.devices=4 --workdir=runs/two

What follows `--` goes to train.py; `config.devices` counts the devices of all processes. The first one writes to the
terminal, and each to `process_N.log` in the folder of `--logs`. When one fails, the others have a moment to say so and
are then ended; SIGTERM, SIGHUP and Ctrl-C ask all of them to save and stop, and on Linux none outlives the launcher.

NVIDIA GPUs are divided equally among the processes, unless JAX_LOCAL_DEVICE_IDS or JAX_CUDA_VISIBLE_DEVICES assigns
them; this was not tried on a host with several GPUs. On several hosts, start each process with
`--config.coordinator=HOST:PORT --config.num_processes=N --config.process_id=I`, or by SLURM with `coordinator=auto`.
"""

import argparse
import contextlib
import datetime
import io
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from al_jax.ports import free_port
from al_jax.signals import answered

ALONE = 5.0  # seconds from one process's failure until the others are asked to end
KILL = 10.0  # seconds from there until they are killed
FOLLOWED = os.EX_TEMPFAIL  # exit status of a process that left because of another one, `LOST` of training/company.py
LAST = 2.0  # seconds for the rest of what ended processes have said
LOOK = 0.05  # seconds
OWN_DEVICES = "JAX_LOCAL_DEVICE_IDS"
DEVICES = Path("/dev")
PROGRAM = Path(__file__).resolve().parents[1] / "train.py"
TERMINAL = 1  # the file descriptor of this process's output
# Runs the program of its command line, which Linux kills as soon as the launcher has died: no handler of a signal would
# hear of SIGKILL. To ask for that between fork and exec, by `preexec_fn`, is not safe beside threads.
TIED = """
import ctypes, os, signal, sys
launcher, *command = sys.argv[1:]
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == int(launcher):  # else it died before
    os.execv(sys.executable, [sys.executable, "-u", *command])
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the processes to their end; returns the exit status of the first that failed, 0 if none did."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    group = Group(options.logs, options.processes)
    with answered(group.ask):
        try:
            group.start(options.program, options.arguments)
            return group.wait()
        except OSError as error:
            _say(f"error: not all processes can be started ({error}): mend that, or ask for fewer --processes")
            return 1
        finally:
            group.kill()


class Reader(threading.Thread):
    """Copies what a process says to its log, and to the terminal where it is `shown`, until it has ended.

    It goes on without a file that cannot be written any more: a process to which nobody listens cannot go on.
    """

    def __init__(self, source: IO[bytes], log: Path, shown: bool):
        super().__init__(daemon=True)
        # Unbuffered, since what a buffer holds when its file fails is written again, in vain, when it is closed.
        self._log = log.open("wb", buffering=0)
        self._source, self._copies = source, [self._log]
        if shown:
            self._copies.append(io.FileIO(TERMINAL, "wb", closefd=False))
        self.last = b""  # line

    def run(self) -> None:
        with self._source, self._log:
            for line in self._source:
                self.last = line
                for file in tuple(self._copies):
                    self._copy(file)

    def _copy(self, file: io.FileIO) -> None:
        try:
            file.write(self.last)
        except OSError as error:
            self._copies.remove(file)
            name = "the terminal" if file.name == TERMINAL else file.name
            _say(f"error: {name} cannot be written ({error.strerror}): the processes go on without it")


class Group:
    """Processes that live and end together."""

    def __init__(self, logs: Path, number: int):
        """None of them runs before `start`, so that signals can be handled from the first one on."""
        self._logs = [logs / f"process_{rank}.log" for rank in range(number)]
        self._processes: list[subprocess.Popen] = []
        self._readers: list[Reader] = []
        self._asked = 0

    def start(self, program: Path, arguments: Sequence[str]) -> None:
        """Starts them, each with the coordinator, their number, its own and its GPUs in JAX's environment variables.

        Raises:
          OSError: one of them cannot be started; `kill` ends the others.
        """
        number = len(self._logs)
        common = {
            "TF_CPP_MIN_LOG_LEVEL": "2",  # JAX's runtime warns of features that are meant
            **os.environ,
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
            "JAX_NUM_PROCESSES": str(number),
        }
        for rank, log in enumerate(self._logs):
            process = subprocess.Popen(
                [sys.executable, "-ISc", TIED, str(os.getpid()), str(program), *arguments],
                env={**common, **local_devices(rank, number), "JAX_PROCESS_ID": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C comes by `ask` alone, and what a process started is killed with it
            )
            assert process.stdout is not None
            self._processes.append(process)
            self._readers.append(Reader(process.stdout, log, shown=rank == 0))
            self._readers[-1].start()
        if self._asked:  # meanwhile, when not all were there
            self.ask(self._asked)

    def ask(self, number: int, frame=None) -> None:
        """Sends a signal to all; one that hangs up asks them to save and stop, as SIGTERM does."""
        self._asked = signal.SIGTERM if number == signal.SIGHUP else number
        if len(self._readers) < len(self._logs):
            return
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(self._asked)

    def wait(self) -> int:
        """Returns when all have ended, on their own or because one failed."""
        self._wait_while(lambda: self._failure() is None)
        self._wait_while(seconds=ALONE)
        failed = self._failure()  # not before: one that left because of it may be the first to end
        self.ask(signal.SIGTERM)
        self._wait_while(seconds=KILL)
        self.kill()
        self._read_on()
        if failed is None:
            return 0
        self._report(failed)
        status = self._processes[failed].returncode
        return status if status >= 0 else 128 - status  # as a shell would say it

    def _wait_while(self, condition: Callable[[], bool] = lambda: True, seconds: float = float("inf")) -> None:
        """Waits while a process runs and the condition holds, at most so long."""
        deadline = time.monotonic() + seconds
        while (
            condition() and time.monotonic() < deadline and any(process.poll() is None for process in self._processes)
        ):
            time.sleep(LOOK)

    def _read_on(self) -> None:
        """Lets the readers come to the end of what the processes said; whoever left their group may hold it open."""
        deadline = time.monotonic() + LAST
        for reader in self._readers:
            reader.join(max(0, deadline - time.monotonic()))

    def kill(self) -> None:
        """Kills what still runs or holds a process's output open, and what it started."""
        for process, reader in itertools.zip_longest(self._processes, self._readers):  # one may have no reader yet
            if process.poll() is None or (reader and reader.is_alive()):
                with contextlib.suppress(ProcessLookupError):  # all of it has ended meanwhile
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _failure(self) -> int | None:
        """The process that failed, a killed one first and one that left because of another one last."""
        ended = [(process.poll(), rank) for rank, process in enumerate(self._processes)]
        failed = [(status >= 0, status == FOLLOWED, rank) for status, rank in ended if status]
        return min(failed)[-1] if failed else None

    def _report(self, rank: int) -> None:
        status = self._processes[rank].returncode
        if status in (128 + signal.SIGTERM, 128 + signal.SIGINT):  # all were asked to stop, and say so themselves
            return
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"left with status {status}"
        _say(f"error: process {rank} {how}; its log is {self._logs[rank]}")
        if rank and (last := self._readers[rank].last):
            _say(f"process {rank}: {last.decode(errors='replace').rstrip()}")


def gpus() -> int:
    """How many of NVIDIA's GPUs a process sees where only CUDA_VISIBLE_DEVICES limits them."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(DEVICES.glob("nvidia[0-9]*")))


def local_devices(rank: int, processes: int) -> dict[str, str]:
    """The environment variable by which JAX knows a process's GPUs, as they are numbered on this host.

    Empty where there are fewer GPUs than processes, as on a CPU, or where the user has set one of these variables.
    """
    share = gpus() // processes
    if not share or any(name in os.environ for name in (OWN_DEVICES, "JAX_CUDA_VISIBLE_DEVICES")):
        return {}
    return {OWN_DEVICES: ",".join(map(str, range(rank * share, (rank + 1) * share)))}


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):  # nobody hears
        print(f"{sentence}\n", end="", file=sys.stderr, flush=True)  # at once, beside other threads that speak


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    stamp = f"launch-{datetime.datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"
    parser = argparse.ArgumentParser(
        prog="python -m al_jax.launch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, required=True, metavar="N", help="how many, at least 1")
    parser.add_argument(
        "--program", type=Path, default=PROGRAM, metavar="FILE", help="by default the train.py beside al_jax"
    )
    logs = "folder of the processes' logs; by default a new one under runs/"
    parser.add_argument("--logs", type=Path, default=Path("runs", stamp), metavar="DIR", help=logs)
    parser.add_argument("arguments", nargs="*", help="of train.py, behind --")
    options, others = parser.parse_known_args(arguments)
    if others:
        parser.error(f"unknown arguments {' '.join(others)}: those of train.py go behind --, as in the help")
    if options.processes < 1:
        parser.error(f"--processes is {options.processes}: it must be at least 1")
    if not options.program.is_file():
        parser.error(f"there is no {options.program}: give --program=PATH/TO/train.py")
    try:
        options.logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot write to {options.logs} ({error.strerror}): choose other --logs")
    return options


if __name__ == "__main__":
    sys.exit(main())
