"""What arms need besides time: bytes of a device, and multiply-accumulates of an update."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

import al_jax as al
from al_jax.analysis.macs import macs
from al_jax.chain import signal_shapes
from al_jax.types import Batch

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


def update_macs(network: al.Network, batch: Batch) -> int:
    """Multiply-accumulates an example for losses and gradients of all components, counted in their jaxprs."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    signals, _ = signal_shapes(network, batch)
    total = 0
    for part, signal in zip(network.components, signals, strict=True):

        def objective(params, signal, key, part=part):
            return sum(part.apply({"params": params}, signal, key, True)[1].values())

        params = jax.eval_shape(part.init, key, signal)["params"]
        total += macs(jax.grad(objective), params, signal, key)
    return round(total / batch["image"].shape[0])
