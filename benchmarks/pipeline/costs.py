"""What arms need besides time: bytes of a device."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def compiled_by(run: Callable[[], Any]) -> tuple[Any, int]:
    """What a first call returns, and the bytes on a device of the largest program that was compiled for it.

    Arguments (parameters, optimizer state, the data of the call), results that do not overwrite them, and temporaries,
    as XLA's `memory_analysis` accounts for them; the trainers keep their compiled programs to themselves.
    """
    before = Counter(_programs())
    result = jax.block_until_ready(run())
    return result, max((Counter(_programs()) - before).elements(), default=0)


def _programs() -> list[int]:
    found = [program.get_compiled_memory_stats() for program in jax.local_devices()[0].client.live_executables()]
    return [
        own.argument_size_in_bytes + own.output_size_in_bytes - own.alias_size_in_bytes + own.temp_size_in_bytes
        for own in found
    ]


def peak_bytes(name: str = "VmHWM") -> int | None:
    """The most memory that this process had since `forget_peak`, or with `VmRSS` what it has now; None off Linux."""
    if not STATUS.exists():
        return None
    return next(1024 * int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(name))


def forget_peak() -> None:
    """The present memory counts as the peak from now on."""
    if PEAK.exists():
        PEAK.write_text("5")
