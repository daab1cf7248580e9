"""Bytes and milliseconds that an update really takes on an accelerator, beside the bytes predicted ahead of time.

    python -m benchmarks.memory_measured [NETWORK] [--arms PATTERN] [--quick] [--json FILE]

The arms are those of `benchmarks.memory` whose names match the pattern, and the prediction is its JSON's. `peak` is the
most that a process had allocated on the device at any time. Each arm has two processes of its own: the compiler tries
out kernels with memory of its own, so the first one compiles and the second takes the program from JAX's cache. The
arms' times are taken one after another, with nothing else on the device. On a CPU there is no peak, since JAX does not
count it there.
"""

import functools
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from al_jax.analysis.options import positive
from benchmarks import timing
from benchmarks.compiled import total
from benchmarks.memory import NETWORKS, QUICK, arms_of, compiled
from benchmarks.workers import Functions, Worker

TOGETHER = 4  # processes that compile at the same time


def make(cache: str, network: str, fields: Mapping[str, Any], updates: int, rounds: int) -> Functions:
    """One arm in this process: what compiles it, and what trains it and measures that."""
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

    @functools.cache
    def program():
        return compiled(network, fields, updates)[0]

    def compile_() -> None:
        program()

    def measure() -> dict[str, Any]:
        image, classes, batch, _ = {**NETWORKS, **QUICK}[network]
        rng, valid = np.random.default_rng(0), np.int32(updates)
        batches = {
            "image": rng.random((updates, batch, *image), np.float32),
            "label": rng.integers(0, classes, (updates, batch), np.int32),
        }
        state, batches = program().draw(jax.random.key(0)), jax.device_put(batches)
        run = timing.training(lambda state, batches: program().run(state, batches, valid), state, batches)
        del state  # the run's alone, which donates it
        samples = timing.interleaved({"arm": run}, rounds)["arm"]
        statistics = jax.devices()[0].memory_stats() or {}
        found = {**program().memory, "peak": statistics.get("peak_bytes_in_use")}
        return {**found, **timing.summarise(samples, updates), "device": jax.devices()[0].device_kind}

    return {"compile": compile_, "measure": measure}


def measured(network: str, arms: Mapping[str, Mapping[str, Any]], cache: str, *sizes: int) -> dict[str, Any]:
    """What each arm takes; the sizes are updates in a repetition, and repetitions."""
    _dismiss(_ready(network, arms, cache, *sizes))
    workers = _ready(network, arms, cache, *sizes)
    found = {name: worker("measure") for name, worker in workers.items()}
    _dismiss(workers)
    return found


def _ready(network: str, arms: Mapping[str, Mapping[str, Any]], cache: str, *sizes: int) -> dict[str, Worker]:
    """A process for each arm, when all of them have compiled."""
    workers = {name: Worker(None, make, cache, network, fields, *sizes) for name, fields in arms.items()}
    for worker in workers.values():
        worker.ask("compile")
    for worker in workers.values():
        worker.answer()
    return workers


def _dismiss(workers: Mapping[str, Worker]) -> None:
    for worker in workers.values():
        worker.close()
    for worker in workers.values():
        worker.join()


def row(name: str, arm: Mapping[str, Any], predicted: Mapping[str, int] | None, whole: Mapping[str, Any]) -> list[str]:
    def gigabytes(count: int | None) -> str:
        return "–" if count is None else f"{count / 1e9:.2f} GB"

    return [
        name,
        arm["device"],
        gigabytes(total(predicted) if predicted else None),
        gigabytes(total(arm)),
        gigabytes(arm["peak"]),
        f"{arm['peak'] / whole['peak'] - 1:+.0%}" if arm["peak"] else "–",
        f"{arm['ms_per_update']:.1f}",
    ]


def main():
    parser = timing.arguments_of(__doc__, "one small network and update")
    parser.add_argument("network", nargs="?", default="resnet32", choices=sorted(NETWORKS))
    kept = "a regular expression; end to end is always there"
    parser.add_argument("--arms", type=timing.pattern, default="", metavar="PATTERN", help=kept)
    parser.add_argument("--updates", type=positive, default=2, help="in one dispatch, whose images count as memory")
    parser.add_argument("--rounds", type=positive, default=10, help="in which the arms take turns; 10 by default")
    options = timing.parse(parser, "memory_measured")
    network = next(iter(QUICK)) if options.quick else options.network
    if options.quick:
        options.updates = options.rounds = 1
    _, _, batch, cuts = {**NETWORKS, **QUICK}[network]
    arms = [arm for arm in arms_of(cuts, options.quick) if arm[0] == "end to end" or re.search(options.arms, arm[0])]
    found = {}
    record = {**timing.machine(), "network": network, "batch": batch, "rounds": options.rounds, "arms": found}
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # of the workers, which share the device
    with tempfile.TemporaryDirectory() as cache:
        for start in range(0, len(arms), TOGETHER):
            group = dict(arms[start : start + TOGETHER])
            found |= measured(network, group, cache, options.updates, options.rounds)
            timing.write(options.json, record)  # a borrowed device may go at any time
    path = Path("results", "benchmarks", "memory.json")
    known = json.loads(path.read_text())["networks"].get(network, {"arms": {}}) if path.exists() else {"arms": {}}
    rows = [row(name, arm, known["arms"].get(name), found["end to end"]) for name, arm in found.items()]
    columns = ["arm", "device", "predicted", "compiled", "peak", "to end to end", "ms/update"]
    timing.report(f"An update of {network}, {batch} images", columns, rows, record, options.json)


if __name__ == "__main__":
    main()
