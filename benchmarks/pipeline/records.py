"""What becomes of the measurements of a case: speed-ups, the bound, and what else was seen of each arm."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from al_jax.analysis.macs import training_macs, update_macs
from al_jax.engines.partition import blocks_of
from benchmarks import timing
from benchmarks.pipeline import arms as names
from benchmarks.pipeline.arms import Arm
from benchmarks.pipeline.cases import Case
from benchmarks.pipeline.one_device import SAMPLED


def record_of(
    case: Case,
    arms: Mapping[str, Arm],
    parts: tuple[Sequence[tuple[str, int]], Sequence[tuple[str, int]]],
    samples: timing.Samples,
    facts: dict[str, Any],
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """The record of a case.

    `parts` name the samples of each component by itself, with one core's micro-batches and with the pipeline's;
    `left_out` says why.
    """
    alone, staged = ([_median(samples[part]) / SAMPLED for part in of] for of in parts)
    ticks = case.updates * arms[names.PIPELINED].facts["micro_batches"]
    limit = bound(alone, staged, facts["partition"], ticks)
    macs = macs_of(case)
    found = {name: {"left_out": why} for name, why in left_out.items()}
    found |= {name: summary(case, name, arm, samples) | {"macs_per_example": macs[name]} for name, arm in arms.items()}
    limits = {name: ideal(name, arms[name].facts.get("micro_batches", 1), len(facts["partition"])) for name in arms}
    for name, most in (limits | {names.PIPELINED: limit}).items():
        if most is not None:
            found[name] |= {"bound": most, "of_bound": found[name]["speedup_over_own_core"] / most}
    own = found[names.PIPELINED]
    tick = own["ms_per_update"] * case.updates / (ticks + len(facts["partition"]) - 1)
    transfer = 1e3 * _median(samples["transfers"]) / ticks
    return {
        "case": case.name,
        **{name: value for name, value in case._asdict().items() if name != "micro_batches"},
        **facts,
        "component_ms": [1e3 * second for second in alone],
        "component_ms_of_stages": [1e3 * second for second in staged],
        "tick_ms": tick,
        "transfer_ms": transfer,
        "transfer_share": transfer / tick,
        "pipelined_speedup": own["speedup_over_own_core"],
        "arms": found,
    }


def bound(alone: Sequence[float], staged: Sequence[float], partition: Sequence[int], ticks: int) -> float:
    """The speed-up that the components' own times allow: the fullest stage sets the tick, filling costs p - 1 ticks.

    Args:
      alone: seconds of each component for an update as one core does it.
      staged: the same with the pipeline's number of micro-batches.
      partition: components of each stage.
      ticks: micro-batches in all.
    """
    fullest = max(map(sum, blocks_of(staged, partition)))
    return ticks * sum(alone) / ((ticks + len(partition) - 1) * fullest)


def ideal(name: str, micro_batches: int, stages: int) -> float | None:
    """The speed-up that a schedule of backpropagation allows where stages are equal and messages take no time.

    Naively one stage works at a time; GPipe and 1F1B fill and drain for every update. None of other arms.
    """
    if name == names.NAIVE:
        return 1.0
    if name in (names.GPIPE, names.REMAT, names.TORCH_GPIPE, names.TORCH_1F1B):
        return micro_batches * stages / (micro_batches + stages - 1)
    return None


def summary(case: Case, name: str, arm: Arm, samples: timing.Samples) -> dict[str, Any]:
    """Times, speed-ups and what else was seen of an arm."""
    of = timing.summarise(samples[name], arm.copies * case.updates)
    foreign = [sample.foreign for sample in samples[name] if sample.foreign is not None]
    of |= {
        "cores": arm.cores,
        "examples_per_second": 1e3 * case.batch / of["ms_per_update"],
        "speedup_over_own_core": arm.copies / timing.ratio(samples, name, arm.own),
        "speedup_over_backprop": arm.copies / timing.ratio(samples, name, names.BACKPROP),
        "utilisation": of["cpu_over_wall"] / arm.cores,
        "foreign_cores": max(foreign, default=None),
        "load_average": max(sample.load or 0.0 for sample in samples[name]),
    }
    return of | arm.facts


def macs_of(case: Case) -> dict[str, int]:
    """Multiply-accumulates an example of each arm; with rematerialisation the forward pass counts twice."""
    rules = {rule: sum(update_macs(case.network(rule), case.shapes())) for rule in ("associated", "backprop")}
    of = {name: rules["associated" if name.startswith("AL") else "backprop"] for name in names.ORDER}
    of[names.REMAT] += sum(training_macs(case.backprop(), case.shapes()))
    return of


def _median(samples: Sequence[timing.Sample]) -> float:
    return statistics.median(sample.wall for sample in samples)
