"""Throughput of training alone, over restarts."""

import time


class Stopwatch:
    """Counts examples while it runs."""

    def __init__(self, seconds: float = 0.0, examples: int = 0):
        self.seconds, self.examples = seconds, examples
        self._since: float | None = None
        self._counting = 0

    def start(self) -> None:
        self._since, self._counting = time.monotonic(), 0

    def resume(self) -> None:
        """Starts, unless it runs."""
        if self._since is None:
            self.start()

    def count(self, examples: int) -> None:
        self._counting += examples

    def stop(self, discard: bool = False) -> None:
        """Adds the time since the start and the examples in it, unless they are to be discarded."""
        if self._since is not None and not discard:
            self.seconds += time.monotonic() - self._since
            self.examples += self._counting
        self._since = None

    @property
    def examples_per_second(self) -> float:
        """Up to now; 0 before anything was measured."""
        running = time.monotonic() - self._since if self._since is not None else 0.0
        seconds = self.seconds + running
        return (self.examples + (self._counting if running else 0)) / seconds if seconds else 0.0
