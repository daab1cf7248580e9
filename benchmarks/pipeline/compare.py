"""One case: digests first, then every arm in turn, round after round, and a record of each."""

import functools
import statistics
from collections.abc import Sequence
from typing import Any

from al_jax.analysis.macs import training_macs
from al_jax.engines.pipelined import even_partition
from al_jax.networks.balance import min_max_partition
from benchmarks import timing
from benchmarks.pipeline import arms as names
from benchmarks.pipeline import one_device, ranks
from benchmarks.pipeline.arms import Arm, Crew, refuse, together
from benchmarks.pipeline.cases import Case
from benchmarks.pipeline.costs import update_macs
from benchmarks.quiet import observed
from benchmarks.workers import Group, Worker, two_cores

DIGEST_UPDATES = 6
STAGES = 2
NO_TORCH = "torch is not installed: pip install -e .[bench]"


def compare(case: Case, rounds: int, patience: float, quick: bool) -> dict[str, Any]:
    """Checks and measures all arms of a case; `quick` leaves most of them out and times what `exact` compiles."""
    crew = Crew(case, exact=quick)
    worker = crew.open(Worker, crew.cores[:1], one_device.functions, quick)
    group = crew.open(Group, crew.cores, ranks.functions, quick)
    if quick:
        partition = even_partition(len(case.blocks()), STAGES)
        group.ask("train", partition)  # while the one core has work of its own
        parts = worker("components")
    else:
        parts = worker("components")
        partition = min_max_partition(_alone(worker, parts), STAGES)
        group.ask("train", partition)
    reference = crew.one_core(worker)
    timed = crew.pipelined(group, partition, reference["associated"])
    digests = timed if quick else exact_digests(case, partition)
    if len(set(digests.values())) > 1:
        refuse(case, f"the digests of sequential and pipelined AL differ: {digests}")
    left_out, tried = {}, {}
    if quick:
        left_out = {name: "left out by --quick" for name in names.ORDER if name not in crew.arms}
    else:
        tried = crew.backward(group, reference["backprop"])
        crew.two_threads()
        crew.copies(worker)
        if names.TORCH_HERE:
            tried |= crew.torch()
        else:
            left_out = dict.fromkeys((names.TORCH, names.TORCH_GPIPE, names.TORCH_1F1B), NO_TORCH)
    group("transfers", partition)
    extra = {"transfers": lambda: together(group("time", "transfers"))}
    extra |= {part: functools.partial(worker, "time", part) for part in parts}
    runs = {name: crew.arms[name].run for name in names.ORDER if name in crew.arms} | extra
    measured = {name: functools.partial(observed, run, patience) for name, run in runs.items()}
    samples = timing.interleaved(measured, rounds)
    crew.close()
    seconds = [_median(samples[part]) / one_device.SAMPLED for part in parts]
    record = {
        "case": case.name,
        **case._asdict(),
        "rounds": rounds,
        "timed_under_exact": quick,
        "digests": digests,
        "digests_of_timed_runs": timed,
        "partition": partition,
        "component_ms": [1e3 * second for second in seconds],
        "component_macs": training_macs(case.associated(), case.shapes()),
        "bound": bound(seconds, partition, case.updates),
        "transfer_ms": 1e3 * _median(samples["transfers"]) / case.updates,
        "micro_batches_tried": tried,
    }
    macs = {rule: update_macs(case.network(rule), case.shapes()) for rule in ("associated", "backprop")}
    forward = sum(training_macs(case.backprop(), case.shapes()))
    record["arms"] = {name: {"left_out": why} for name, why in left_out.items()}
    for name, arm in crew.arms.items():
        own = macs["associated" if name.startswith("AL") else "backprop"] + (forward if name == names.REMAT else 0)
        record["arms"][name] = summary(case, name, arm, samples) | {"macs_per_example": own}
    return record | _pipeline_facts(record, samples)


def exact_digests(case: Case, partition: Sequence[int]) -> dict[str, str]:
    """Digests of a short training under `exact`, sequential and pipelined, in processes of their own."""
    crew = Crew(case._replace(updates=DIGEST_UPDATES), exact=True)
    worker = crew.open(Worker, crew.cores[:1], one_device.functions, True)
    group = crew.open(Group, two_cores(), ranks.functions, True)
    found = {"sequential": worker("train", "associated").digest, "pipelined": group("train", partition)[0].digest}
    crew.close()
    return found


def bound(seconds: Sequence[float], partition: Sequence[int], updates: int) -> float:
    """The speed-up that the components' own times allow: the fullest stage sets the tick, filling costs p - 1 ticks."""
    remaining = iter(seconds)
    stages = [sum(next(remaining) for _ in range(size)) for size in partition]
    return updates * sum(seconds) / ((updates + len(partition) - 1) * max(stages))


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


def _pipeline_facts(record: dict[str, Any], samples: timing.Samples) -> dict[str, Any]:
    own = record["arms"][names.PIPELINED]
    tick = own["ms_per_update"] * record["updates"] / (record["updates"] + STAGES - 1)
    own["bound"] = record["bound"]
    own["of_bound"] = own["speedup_over_own_core"] / record["bound"]
    facts = {"pipelined_speedup": own["speedup_over_own_core"], "tick_ms": tick}
    return facts | {"transfer_share": record["transfer_ms"] / tick}


def _alone(worker: Worker, parts: Sequence[str]) -> list[float]:
    """The median of three measurements of each component."""
    seconds = {part: statistics.median(worker("time", part).wall for _ in range(3)) for part in set(parts)}
    return [seconds[part] for part in parts]


def _median(samples) -> float:
    return statistics.median(sample.wall for sample in samples)
