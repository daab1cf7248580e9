"""The other processes of a run: joining them, noticing that they are gone, and leaving.

A process that waits in a collective for one that died or hangs cannot save what it holds, since the components are
spread over all of them. So it leaves within a bounded time and says why; the run goes on from its last checkpoint. Up
to JAX 0.9.0 the runtime ends such a process by itself, with status 1 and words of its own.
"""

import contextlib
import ctypes
import faulthandler
import hashlib
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

import jax

from al_jax.engines import distributed, world
from al_jax.training.config import Config
from al_jax.training.errors import ConfigError, RunError

LOST = 75  # exit status where another process failed: EX_TEMPFAIL, the same command may succeed later
LOOK = 0.5  # seconds between two looks at the others
FAREWELL = 4 * LOOK  # seconds in which the others read what process 0 told, which goes with it
PATIENCE = 30.0  # seconds that process 0 waits for the others at the end, and they for its answer
# Fields that each process may have of its own.
OWN = {"coordinator", "num_processes", "process_id", "data_dir", "start_timeout", "step_timeout", "profile"}
SCRATCH: list[Path] = []  # folders that go with this process
SPEAKING = threading.Lock()  # taken for good by the thread that says why the process leaves
# What errors of collectives without their other side begin with, or name behind the code of the error.
PEER = re.compile(r"^(?:UNAVAILABLE|DEADLINE_EXCEEDED)\b.*|\b(?:Gloo|NCCL)\b.*")
DISPATCH = re.compile(r"\b(?:Gloo|NCCL)\b.* failed\b.*")  # what a ValueError says of one that fails as it starts
PLACE = re.compile(r"\[?\S+\.(?:cc|h|cpp):\d+\]? *")  # where it was raised in the source
SAVED = "it cannot save, the same command continues from the last checkpoint"
REMEDY = "; if none hangs, with a longer step_timeout or fewer updates_per_call"


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
        _on_abort(alone, status=1)
    try:
        world.start(coordinator, processes, process, config.start_timeout)
    except ValueError as error:
        raise ConfigError(f"config.{error}") from error
    except jax.errors.JaxRuntimeError as error:
        raise RunError(alone) from error
    if distributed.size() > 1:
        likely = "" if distributed.first() else ", most likely process 0 is gone"
        _on_abort(f"the runtime aborted, its reason stands above{likely}, so {_this()} leaves: {SAVED}", LOST)
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
            f"{_this()} differs from process 0 ({'; '.join(other)}): start all with the same command and code"
        )


def leave(status: int) -> NoReturn:
    """Ends this process; several end together, when the first one has written everything, and that one last.

    A process that left earlier would look like a failure to what started it, and end a first one that still writes.
    Call it within a `Watch`, whose deadline bounds the waiting.
    """
    if distributed.size() > 1:
        if distributed.first():
            distributed.tell("done", "")
            deadline = time.monotonic() + PATIENCE
            while len(distributed.told("done")) < distributed.size() and time.monotonic() < deadline:
                time.sleep(LOOK / 10)
            time.sleep(LOOK)  # what JAX reports when it finds process 0 gone would look like a failure
        else:
            while 0 not in distributed.told("done"):
                time.sleep(LOOK / 10)
            distributed.tell("done", "")
        _exit(status)
    sys.exit(status)


def give_up(sentence: str) -> NoReturn:
    """Ends this process with an error, which the others hear of."""
    if distributed.size() == 1:
        sys.exit(sentence)
    _exit_within(PATIENCE, 1)
    with contextlib.suppress(OSError):  # nobody hears, as on a full disk
        if _is_first():
            print(sentence, file=sys.stderr, flush=True)
    try:
        distributed.tell("gone", sentence.removeprefix("error: "))
        if distributed.first():
            time.sleep(FAREWELL)
    except jax.errors.JaxRuntimeError:
        pass  # process 0 is gone already
    _exit(1)


def fail(error: Exception) -> NoReturn:
    """Ends this process because of an error that nobody foresaw, or of a collective that lost another process."""
    if distributed.size() == 1:
        raise error
    if reason := _peer_is_gone(error):
        time.sleep(2 * LOOK)  # the watch may know better why
        _lost(f"another process is gone ({reason})")
    traceback.print_exception(error)
    give_up(f"error: {type(error).__name__}: {error}")


def _peer_is_gone(error: Exception) -> str:
    """What a collective that lost its other side says of it in a few words, "" of any other error."""
    line = next(iter(str(error).splitlines()), "")
    found = (PEER if isinstance(error, jax.errors.JaxRuntimeError) else DISPATCH).search(line)
    return PLACE.sub("", found[0]).strip()[:100] if found else ""


def say(text: str) -> None:
    """Prints a line, once for all processes."""
    if distributed.first():
        print(text, flush=True)


class Watch:
    """Ends this process when another one is gone, or when nothing goes on for too long; alone, it does nothing.

    It looks from threads of its own: the main thread may be waiting inside XLA, and asking process 0 hangs if it does.
    Where a call holds Python's lock for ever they cannot run; C then ends the process, with status 1 and tracebacks.
    """

    def __init__(self, first: float, then: float):
        """Begins to count.

        Args:
          first: the longest time in seconds until the first call of `alive`, compilation included.
          then: the longest time between two of them.
        """
        self._seconds, self._then = first, then
        self._last = time.monotonic()
        self._ends = threading.Event()

    def alive(self) -> None:
        """Says that a call of the engine, or another piece of work, is done."""
        self._last, self._seconds = time.monotonic(), self._then
        self._last_resort()

    def _last_resort(self) -> None:
        if distributed.size() > 1:
            faulthandler.dump_traceback_later(min(self._seconds, world.LONGEST) + 2 * PATIENCE, exit=True, file=2)

    def __enter__(self):
        self._last_resort()
        if distributed.size() > 1:
            for look in (self._look_at_the_clock, self._look_at_the_others):
                threading.Thread(target=look, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self._ends.set()
        faulthandler.cancel_dump_traceback_later()

    def _look_at_the_clock(self) -> None:
        while not self._ends.wait(LOOK):
            if time.monotonic() - self._last > self._seconds:
                _lost(f"no call was done in {self._seconds:g} seconds", REMEDY)

    def _look_at_the_others(self) -> None:
        while not self._ends.wait(LOOK):
            try:
                gone = distributed.told("gone")
            except jax.errors.JaxRuntimeError:
                return  # JAX itself ends the process when the first one is gone
            for number, sentence in gone.items():
                if not self._ends.is_set():
                    _lost(f"process {number} left ({sentence})")


def _lost(reason: str, remedy: str = "") -> NoReturn:
    _exit_within(PATIENCE, LOST)
    with contextlib.suppress(OSError):
        if _is_first():
            print(f"error: {reason}, so {_this()} leaves: {SAVED}{remedy}", file=sys.stderr, flush=True)
    _exit(LOST)


def _is_first() -> bool:
    """Whether no other thread says already why the process leaves; if one does, it has the time to end it."""
    if SPEAKING.acquire(blocking=False):
        return True
    time.sleep(FAREWELL)
    return False


def _this() -> str:
    return f"process {distributed.rank()} of {distributed.size()}"


def _exit(status: int) -> NoReturn:
    """Without the handlers at Python's exit, where JAX would wait for the others."""
    with contextlib.suppress(Exception):  # of streams that are closed, or of a full disk
        for folder in SCRATCH:
            shutil.rmtree(folder, ignore_errors=True)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _exit_within(seconds: float, status: int) -> None:
    """Ends this process after some seconds, whatever it waits for: process 0, or somebody to read what it says."""
    timer = threading.Timer(seconds, os._exit, (status,))
    timer.daemon = True
    timer.start()


def _on_abort(sentence: str, status: int) -> None:
    """Puts a sentence under the report with which JAX's runtime aborts a process when it cannot reach the first one."""

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def explain(number):
        if _is_first():
            os.write(2, f"error: {sentence}\n".encode())
        os._exit(status)

    _on_abort.kept = explain  # pyrefly: ignore[missing-attribute]  # C holds no reference
    ctypes.CDLL(None).signal(signal.SIGABRT, explain)
