"""Whether a machine is quiet: what programs other than the measured ones do meanwhile, from /proc/stat.

A core that somebody else holds looks exactly like missing parallelism, so a measurement waits for idle cores, is
repeated if they were not left alone, and says what it saw. Systems without /proc/stat measure without all this.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.timing import Sample

STAT = Path("/proc/stat")
QUIET = 0.1  # cores that others may keep busy during a measurement that counts
ATTEMPTS = 3


class Observed(NamedTuple):
    """Seconds on the clock and of processor time, cores that others kept busy meanwhile, load average, attempts."""

    wall: float
    cpu: float
    foreign: float | None
    load: float | None
    attempts: int


def observed(run: Callable[[], Sample], patience: float) -> Observed:
    """Measures when the machine is idle; waits for that `patience` seconds, and measures again if it was disturbed."""
    end, attempts, foreign = time.monotonic() + patience, 0, 1.0
    while attempts == 0 or (foreign > QUIET and attempts < ATTEMPTS and time.monotonic() < end):
        attempts += 1
        wait_until_idle(end)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        before, start = busy_seconds(), time.monotonic()
        sample = run()
        elapsed, after = time.monotonic() - start, busy_seconds()
        if before is None or after is None:
            return Observed(*sample[:2], None, load, attempts)
        foreign = max(0.0, (after - before - sample.cpu) / elapsed)
    return Observed(*sample[:2], foreign, load, attempts)


def wait_until_idle(end: float, interval: float = 0.5) -> None:
    """Returns when all cores together were busy for less than `QUIET` of an interval, at the latest at `end`."""
    while time.monotonic() < end:
        before = busy_seconds()
        if before is None:
            return
        time.sleep(interval)
        if busy_seconds() - before < QUIET * interval:
            return


def busy_seconds() -> float | None:
    """Seconds that all cores together have worked since the start, stolen time included; None where unknown."""
    if not STAT.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, STAT.read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
