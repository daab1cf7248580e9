"""Pipelined Associated Learning (AL) against everything else that two cores can do with the same network.

One core is one device: an arm on one device is a process pinned to a core, an arm on two is two processes, each pinned
to its own, with gloo between them. One CPU device of JAX would use all cores, so what a single device does with two
threads is a row of its own, as is what two unrelated runs get out of the machine. All arms have the same widths, batch,
data, float32, and Adam; filling and draining count. On one device an update has the number of micro-batches that is
fastest there; GPipe, 1F1B and pipelined AL have the one that is fastest for them. Arms take turns, wait for idle cores,
and say what they saw.

Nothing is printed unless sequential and pipelined AL end in the same digest of parameters and optimizer state (under
`exact`), and all arms but mixed versions and torch's have, after a few updates, the parameters of their rule on one
core, to rounding. This is checked with ELUs in place of ReLUs: rounding opens and shuts ReLUs, and trainings drift
apart.

  python -m benchmarks.pipeline [--quick] [--json FILE]

With --quick it runs only the three arms of `pipelined_speedup`, briefly, without waiting for idle cores, and compiled
`exact`, so that the digests are those of the very runs that are timed. The figure lies beside the JSON.
"""

import os
import time

from benchmarks import timing
from benchmarks.pipeline import depth, figure, learning, table
from benchmarks.pipeline.arms import Disagreement
from benchmarks.pipeline.cases import CONVOLUTIONAL, DENSE, QUICK
from benchmarks.pipeline.compare import LEFT_OUT, compare
from benchmarks.quiet import Patience
from benchmarks.workers import two_cores


def main():
    options, began = timing.arguments(__doc__, "pipeline"), time.monotonic()
    record = {**timing.machine(), "quick": options.quick, "pipelined_speedup": None, "digest_equal": False}
    record["hardware"]["pinned"] = pinned()
    cases, rounds = ((QUICK,), 3) if options.quick else ((DENSE, CONVOLUTIONAL), 3)
    patience = Patience(0 if options.quick else 1200)
    record["cases"] = []
    try:
        for case in cases:
            record["cases"].append(compare(case, rounds, patience, options.quick))
            timing.write(options.json, record)
    except Disagreement as error:
        timing.write(options.json, {**record, "cases": [], "disagreement": str(error)})
        raise SystemExit(f"no number is printed: {error}") from None
    record |= {"pipelined_speedup": record["cases"][0]["pipelined_speedup"], "digest_equal": True}
    record["learning"] = {"left_out": LEFT_OUT} if options.quick else learning.learn(DENSE)
    timing.write(options.json, record)
    record["depth"] = {"left_out": LEFT_OUT} if options.quick else depth.sweep(rounds, patience)
    record["targets"] = table.targets(record)
    record["seconds"] = time.monotonic() - began
    figure.draw(record, options.json.with_suffix(".png"))
    table.show(record)
    timing.report("Targets", table.TARGETS, record["targets"], record, options.json)


def pinned() -> str:
    """Where the processes run; on one core together, arms of two devices show no speed-up."""
    first, second = two_cores()
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned: no sched_setaffinity here"
    return "one core a process" if first != second else f"all processes on core {first}, the only one allowed"


if __name__ == "__main__":
    main()
