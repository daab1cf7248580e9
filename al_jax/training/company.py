"""The other processes of a run: noticing that they are gone, and leaving.

A process that waits in a collective for one that died or hangs cannot save what it holds, since the components are
spread over all of them. So it leaves within a bounded time and says why; the run goes on from its last checkpoint. Up
to JAX 0.9.0 the runtime ends such a process by itself, with status 1 and a message of its own.
"""

import contextlib
import ctypes
import faulthandler
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

LOST = 75  # exit status where another process failed: EX_TEMPFAIL, the same command may succeed later
LOOK = 0.5  # seconds between two looks at the others
PATIENCE = 30.0  # seconds that process 0 waits for the others at the end, and they for its answer
FAREWELL = PATIENCE / 2  # seconds in which the others read what process 0 told, which goes with it
SCRATCH: list[Path] = []  # folders that go with this process
EXPLAINING = []  # what aborts call, to which C holds no reference
SPEAKING = threading.Lock()  # taken for good by the thread that says why the process leaves
# What errors of collectives without their other side begin with, or name behind the code of the error.
PEER = re.compile(r"^(?:UNAVAILABLE|DEADLINE_EXCEEDED)\b.*|\b(?:Gloo|NCCL)\b.*")
DISPATCH = re.compile(r"\b(?:Gloo|NCCL)\b.* failed\b.*")  # what a ValueError says of one that fails as it starts
PLACE = re.compile(r"\[?\S+\.(?:cc|h|cpp):\d+\]? *")  # where it was raised in the source
SAVED = "it cannot save, the same command continues from the last checkpoint"
REMEDY = "; if none hangs, with a longer step_timeout or fewer updates_per_call"


def leave(status: int) -> NoReturn:
    """Ends this process. Of several none ends before the first one has written everything, and that one ends last.

    A process that left earlier would look like a failure to what started it, and end a first one that still writes.
    Call it within a `Watch`, whose deadline bounds the waiting.
    """
    if distributed.size() > 1:
        if distributed.first():
            distributed.tell("done", "")
            _wait_for_all(PATIENCE, "done")
        else:
            while 0 not in distributed.told("done"):
                time.sleep(LOOK / 10)
            on_abort("", status)  # process 0 may go before this one does, which is no failure any more
            distributed.tell("done", "")
        _exit(status)
    sys.exit(status)


def give_up(sentence: str) -> NoReturn:
    """Ends this process with an error, which the others hear of."""
    if distributed.size() == 1:
        sys.exit(sentence)
    _speak(sentence, 1)
    _farewell("gone", sentence.removeprefix("error: "))
    _exit(1)


def _farewell(name: str, text: str) -> None:
    """Tells the others that this process leaves; the first one, who keeps what was told, stays until all know why."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # process 0 is gone already
        distributed.tell(name, text)
        if distributed.first():
            _wait_for_all(FAREWELL, "gone", "heard")


def _wait_for_all(seconds: float, *names: str) -> None:
    """Waits until every process has left a text of one of these names, and a moment in which they end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and len(set().union(*map(distributed.told, names))) < distributed.size():
        time.sleep(LOOK / 10)
    time.sleep(LOOK)  # what JAX reports when it finds process 0 gone would look like a failure


def fail(error: Exception) -> NoReturn:
    """Ends this process because of an error that nobody foresaw, or of a collective that lost another process."""
    if distributed.size() == 1:
        raise error
    if reason := _peer_is_gone(error):
        for number, sentence in _what_the_gone_said().items():
            _follow(number, sentence)
        _lost(f"another process is gone ({reason})")
    traceback.print_exception(error)
    give_up(f"error: {type(error).__name__}: {error}")


def _peer_is_gone(error: Exception) -> str:
    """What a collective that lost its other side says of it in a few words, "" of any other error."""
    line = next(iter(str(error).splitlines()), "")
    found = (PEER if isinstance(error, jax.errors.JaxRuntimeError) else DISPATCH).search(line)
    return PLACE.sub("", found[0]).strip()[:100] if found else ""


def _what_the_gone_said() -> dict[int, str]:
    """What processes that gave up said of it, by their numbers; a thread asks, since process 0 may not answer."""
    said: dict[int, str] = {}

    def ask():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            said.update(distributed.told("gone"))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(FAREWELL)
    return said


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
                    _follow(number, sentence)


def _follow(number: int, sentence: str) -> NoReturn:
    """Ends this process because another one gave up, and said why."""
    _say_lost(f"process {number} left ({sentence})")
    _farewell("heard", "")  # only now: when all have heard, the first process goes, and JAX aborts who still speaks
    _exit(LOST)


def _lost(reason: str, remedy: str = "") -> NoReturn:
    _say_lost(reason, remedy)
    _exit(LOST)


def _say_lost(reason: str, remedy: str = "") -> None:
    _speak(f"error: {reason}, so {this_process()} leaves: {SAVED}{remedy}", LOST)


def _speak(sentence: str, status: int) -> None:
    """Says why this process leaves, which it does within a bounded time even if nobody reads it."""
    _exit_within(PATIENCE, status)
    with contextlib.suppress(OSError):  # nobody hears, as on a full disk
        if speaks_first():
            print(sentence, file=sys.stderr, flush=True)


def on_abort(sentence: str, status: int) -> None:
    """Puts a sentence under the report with which JAX's runtime aborts a process when it cannot reach the first one."""

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def explain(number):
        if sentence and speaks_first():
            os.write(2, f"error: {sentence}\n".encode())
        os._exit(status)

    EXPLAINING.append(explain)
    ctypes.CDLL(None).signal(signal.SIGABRT, explain)


def speaks_first() -> bool:
    """Whether no other thread says already why the process leaves; if one does, it has the time to end it."""
    if SPEAKING.acquire(blocking=False):
        return True
    time.sleep(FAREWELL)
    return False


def this_process() -> str:
    """What sentences call it."""
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
