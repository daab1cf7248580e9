"""One case: digests first, then every arm in turn, round after round."""

import functools
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from al_jax.engines.partition import best_partition, even_partition
from benchmarks import timing
from benchmarks.pipeline import arms as names
from benchmarks.pipeline import one_device, ranks
from benchmarks.pipeline.arms import Crew, refuse, together
from benchmarks.pipeline.cases import Case
from benchmarks.pipeline.micro_batches import MICRO_BATCHES, WHOLE, Chosen, choose
from benchmarks.pipeline.records import record_of
from benchmarks.quiet import Patience
from benchmarks.workers import Group, Worker

DIGEST_UPDATES = 6
CHECKED_UPDATES = 6
STAGES = 2
LEFT_OUT = "left out by --quick"
NO_TORCH = "left out, torch is not installed (pip install -e .[bench])"


def compare(case: Case, rounds: int, patience: Patience, quick: bool) -> dict[str, Any]:
    """Checks and measures all arms of a case; `quick` leaves most of them out and times what `exact` compiles."""
    chosen, tried = (WHOLE, {}) if quick else choose(case)
    if not quick:
        check(case, chosen)
    crew = Crew(case, chosen, exact=quick, checks=quick)
    staff = hire(crew, case, quick)
    facts, left_out = staff.facts, {}
    facts["micro_batches_tried"] |= tried
    if quick:
        left_out = {name: LEFT_OUT for name in names.ORDER if name not in crew.arms}
    else:
        facts["micro_batches_tried"] |= crew.backward(staff.group, staff.reference)
        crew.two_threads()
        crew.copies(staff.worker)
        if names.TORCH_HERE:
            facts["micro_batches_tried"] |= crew.torch()
        else:
            left_out = dict.fromkeys((names.TORCH, names.TORCH_GPIPE, names.TORCH_1F1B), NO_TORCH)
    staff.group("transfers", staff.stages)
    runs = {name: crew.arms[name].run for name in names.ORDER if name in crew.arms}
    runs["transfers"] = lambda: together(staff.group("time", "transfers"))
    runs |= {part: functools.partial(staff.worker, "time", part) for part in (*staff.parts, *staff.parts_of_stages)}
    measured = {name: functools.partial(patience.observed, run) for name, run in runs.items()}
    samples = timing.interleaved(measured, rounds, warm_up=0)  # all have run once
    crew.close()
    parts = staff.parts, staff.parts_of_stages
    return record_of(case, crew.arms, parts, samples, facts | {"rounds": rounds}, left_out)


class Staff(NamedTuple):
    """The processes on one core and on two, once they agree.

    Attributes:
      parts: for each component how the worker calls it, with the micro-batches of one core.
      parts_of_stages: the same with those of the pipeline.
      stages: the pipeline.
      reference: what backpropagation on one core trained.
      facts: partition and digests.
    """

    worker: Worker
    group: Group
    parts: Sequence[tuple[str, int]]
    parts_of_stages: Sequence[tuple[str, int]]
    stages: ranks.Stages
    reference: one_device.Trained
    facts: dict[str, Any]


def hire(crew: Crew, case: Case, quick: bool) -> Staff:
    """Opens the processes, lets them train once, and compares digests; in `quick` those of the runs that are timed."""
    # In `quick` all compile at once, on whatever core is free, and nothing is timed before all are done.
    worker = crew.open(Worker, crew.cores if quick else crew.cores[:1], one_device.functions, quick)
    group = crew.open(Group, crew.cores, ranks.functions, quick)
    partition = even_partition(len(case.blocks()), STAGES)
    if quick:
        group.ask("train", ranks.Stages(partition))
    parts = worker("components", crew.chosen["associated", 1])
    if not quick:
        partition = best_partition(_alone(worker, parts), STAGES)
        group.ask("train", ranks.Stages(partition))
    reference = crew.one_core(worker)
    found = crew.pipelined(group, offers(partition, quick), reference["associated"])
    digests = found.digests if quick else exact_digests(case, found.stages)
    if len(set(digests.values())) > 1:
        refuse(case, f"the digests of sequential and pipelined AL differ: {digests}")
    facts = {"partition": partition, "timed_under_exact": quick, "digests": digests}
    facts |= {"digests_of_timed_runs": found.digests, "micro_batches_tried": {names.PIPELINED: found.tried}}
    same = found.stages.micro_batches == crew.chosen["associated", 1]
    parts_of_stages = parts if same else worker("components", found.stages.micro_batches)
    worker.pin(crew.cores[:1])
    return Staff(worker, group, parts, parts_of_stages, found.stages, reference["backprop"], facts)


def offers(partition: Sequence[int], quick: bool) -> list[ranks.Stages]:
    """Pipelines with each number of micro-batches, whole batches first; `quick` has those alone."""
    return [ranks.Stages(tuple(partition), number) for number in ((1,) if quick else (1, *MICRO_BATCHES))]


def check(case: Case, chosen: Chosen) -> None:
    """Refuses arms that differ by more than rounding after the first updates, in processes of their own."""
    crew = Crew(case._replace(updates=CHECKED_UPDATES, smooth=True), chosen, exact=False)
    worker = crew.open(Worker, crew.cores[:1], one_device.functions, False)
    group = crew.open(Group, crew.cores, ranks.functions, False)
    partition = even_partition(len(case.blocks()), STAGES)
    pipelines = offers(partition, quick=False)
    group.ask("train", pipelines[0])
    reference = crew.one_core(worker)
    crew.pipelined(group, pipelines, reference["associated"])
    crew.backward(group, reference["backprop"])
    crew.close()


def exact_digests(case: Case, stages: ranks.Stages) -> dict[str, str]:
    """Digests of a short training under `exact`, sequential and pipelined, in processes of their own."""
    crew = Crew(case._replace(updates=DIGEST_UPDATES), WHOLE, exact=True)
    worker = crew.open(Worker, crew.cores[:1], one_device.functions, True)
    group = crew.open(Group, crew.cores, ranks.functions, True)
    alone = worker("train", "associated", stages.micro_batches)
    found = {"sequential": alone.digest, "pipelined": group("train", stages)[0].digest}
    crew.close()
    return found


def _alone(worker: Worker, parts: Sequence[tuple[str, int]]) -> list[float]:
    """The median of three measurements of each component."""
    seconds = {part: statistics.median(worker("time", part).wall for _ in range(3)) for part in set(parts)}
    return [seconds[part] for part in parts]
