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


class Patience:
    """How long all measurements together may wait for a quiet machine."""

    def __init__(self, seconds: float):
        self.left = seconds

    def observed(self, run: Callable[[], Sample]) -> Observed:
        """Measures when the machine is idle, and again if it was disturbed, as long as there is patience left.

        Returns:
          The quietest measurement, and how many attempts there were.
        """
        found: list[Observed] = []
        while not found or (found[-1].foreign > QUIET and len(found) < ATTEMPTS and self.left > 0):
            self.wait()
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
            before, start = busy_seconds(), time.monotonic()
            sample = run()
            elapsed, after = time.monotonic() - start, busy_seconds()
            if before is None or after is None:
                return Observed(*sample, None, load, 1)
            foreign = max(0.0, (after - before - sample.cpu) / elapsed)
            found.append(Observed(*sample, foreign, load, 1))
            self.left -= elapsed if foreign > QUIET else 0
        return min(found, key=lambda one: one.foreign)._replace(attempts=len(found))

    def wait(self, interval: float = 0.5) -> None:
        """Until all cores together were busy for less than `QUIET` of an interval."""
        while self.left > 0 and (before := busy_seconds()) is not None:
            time.sleep(interval)
            if busy_seconds() - before < QUIET * interval:
                return
            self.left -= interval


def busy_seconds() -> float | None:
    """Seconds that all cores together have worked since the start, stolen time included; None where unknown."""
    if not STAT.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, STAT.read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
