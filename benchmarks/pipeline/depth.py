"""Depth: time for an update by the number of components, on one, two and as many devices as components.

The paper's O(n + l): n mini-batches through l layers, each on its own device, take n + l ticks, where backpropagation
takes n * l. One core and two are measured. There are not enough cores here for p = K devices, so their tick is
modelled, whatever the depth: the slowest component, measured by itself on one core, and the transfer, measured between
two processes.
"""

import functools
import statistics
from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.pipeline import one_device, ranks
from benchmarks.pipeline.arms import together
from benchmarks.pipeline.cases import Case
from benchmarks.quiet import Patience
from benchmarks.workers import Group, Worker, two_cores

WIDTH, CODE = 512, 64
DEPTHS = (2, 4, 8, 16, 32, 64)
N = 1000  # mini-batches over which the model spreads the ticks that filling takes


def case_of(components: int) -> Case:
    """A measurement lasts for a second or more, so that what others do meanwhile can be told from rounding."""
    updates = max(16, 512 // components)
    return Case(f"{components} components", (WIDTH,) * components, CODE, 1, (16, 32, 1), 256, updates)


def sweep(rounds: int, patience: Patience) -> dict[str, Any]:
    """Milliseconds for an update at each depth, measured and modelled, and the slopes."""
    rows = [measure(components, rounds, patience) for components in DEPTHS]
    slowest, transfer = (statistics.median(values) for values in zip(*map(_tick, rows), strict=True))
    for row in rows:
        row["model_ms"] = (slowest + transfer) * (N + row["components"] - 1) / N
    arms = "backprop_ms", "associated_ms", "two_ms", "model_ms"
    return {
        "width": WIDTH,
        "code": CODE,
        "batch": case_of(2).batch,
        "model": f"(slowest component {slowest:.2f} ms + transfer {transfer:.2f} ms) (N + K - 1) / N, N = {N}",
        "slowest_component_ms": slowest,
        "transfer_ms": transfer,
        "rows": rows,
        "slopes_ms_per_component": {arm: slope(rows, arm) for arm in arms},
        "break_even_components": break_even(rows),
    }


def measure(components: int, rounds: int, patience: Patience) -> dict[str, Any]:
    """One depth: both rules on one core, the pipeline on two, and each kind of component alone."""
    case, cores = case_of(components), two_cores()
    worker, group = Worker(cores[:1], one_device.functions, case), Group(cores, ranks.functions, case)
    stages = ranks.Stages((components // 2,) * 2)
    for rule in ("associated", "backprop"):
        worker("train", rule)
    group("train", stages)
    group("transfers", stages)
    runs = {rule: functools.partial(worker, "time", (rule, 1)) for rule in ("associated", "backprop")}
    runs |= {arm: lambda arm=arm: together(group("time", arm)) for arm in (stages, "transfers")}
    alone = sorted(set(worker("components")))
    runs |= {part: functools.partial(worker, "time", part) for part in alone}
    samples = timing.interleaved(
        {arm: functools.partial(patience.observed, run) for arm, run in runs.items()}, rounds, warm_up=0
    )
    for opened in (worker, group):
        opened.close()
        opened.join()

    def milliseconds(arm, updates=case.updates):
        return 1e3 * statistics.median(sample.wall for sample in samples[arm]) / updates

    return {
        "components": components,
        "backprop_ms": milliseconds("backprop"),
        "associated_ms": milliseconds("associated"),
        "two_ms": milliseconds(stages),
        "transfer_ms": milliseconds("transfers"),
        "component_ms": [milliseconds(part, one_device.SAMPLED) for part in alone],
        "foreign_cores": max(sample.foreign or 0.0 for own in samples.values() for sample in own),
    }


def _tick(row) -> tuple[float, float]:
    """What a tick of p = K devices consists of, neither of which depends on the depth."""
    return max(row["component_ms"]), row["transfer_ms"]


def slope(rows, arm: str) -> float:
    """Milliseconds that a further component costs, by least squares."""
    return float(np.polyfit([row["components"] for row in rows], [row[arm] for row in rows], 1)[0])


def break_even(rows) -> float:
    """The depth from which p = K devices are faster than backpropagation on one core, on the line through its times."""
    points = [row["components"] for row in rows], [row["backprop_ms"] for row in rows]
    rise, base = np.polyfit(*points, 1)
    return float(max(1.0, (rows[0]["model_ms"] - base) / rise))
