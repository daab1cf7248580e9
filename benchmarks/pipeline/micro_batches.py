"""How many micro-batches an update of one device has: the number that is fastest there.

Small ones are faster by themselves, as more of them fits into a cache. This must not count as the speed-up of a
pipeline, which has micro-batches anyway, so every arm on one device is given the number that suits it.
"""

import itertools

from benchmarks.pipeline import one_device
from benchmarks.pipeline.cases import Case
from benchmarks.workers import Worker, two_cores

MICRO_BATCHES = (2, 4, 8)
RULES = "associated", "backprop"
Chosen = dict[tuple[str, int], int]  # by rule and number of threads
WHOLE: Chosen = dict.fromkeys(itertools.product(RULES, (1, 2)), 1)


def choose(case: Case) -> tuple[Chosen, dict[str, list]]:
    """The fastest number for each rule on one core and on two, and what each took."""
    short, chosen, tried = shortened(case), {}, {}
    for rule, threads in WHOLE:
        worker, walls = Worker(two_cores()[:threads], one_device.functions, short), {}
        for number in (1, *MICRO_BATCHES):
            worker("train", rule, number)
            walls[number] = worker("time", (rule, number)).wall
        worker.close()
        worker.join()
        chosen[rule, threads] = min(walls, key=walls.get)
        tried[f"{rule}, one device with {threads} threads"] = milliseconds(walls, short)
    return chosen, tried


def shortened(case: Case) -> Case:
    """For a first try."""
    return case._replace(updates=-(-case.updates // 5))


def milliseconds(walls: dict[int, float], case: Case) -> list[dict[str, float]]:
    """What an update takes with each number."""
    return [{"micro_batches": m, "ms_per_update": 1e3 * wall / case.updates} for m, wall in walls.items()]
