"""The signals that ask a program to end, answered by a handler inside a `with` block."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def answered(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP call the handler meanwhile; a SIGHUP that is ignored, as under nohup, stays so."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, own)
