"""What the benchmarks share: one core, interleaved rounds, pairwise ratios, and a record of the machine.

Other programs on a machine slow all arms down for a while, so arms take turns, and two of them are compared by the
median over rounds of their ratio within a round, not by the ratio of two medians. On one core `cpu/wall` is 1 where
nothing disturbed a measurement; below that another program had a part of the time.
"""

import argparse
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxlib
import numpy as np
from rich.console import Console
from rich.table import Table

from al_jax.training.errors import RunError
from al_jax.training.records import writable
from al_jax.training.summary import processor


class Sample(NamedTuple):
    """Seconds of one repetition: on the clock, and of processor time in all threads."""

    wall: float
    cpu: float


Samples = dict[str, list[Sample]]


def one_core() -> None:
    """Pins this process to one core; call it before JAX's backend starts. Systems other than Linux do not pin.

    JAX then has a thread pool of two, as with NPROC=2: with one, reductions round differently from any larger pool.
    """
    os.environ["NPROC"] = "2"
    jax.config.update("jax_platforms", "cpu")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measure(run: Callable[[], Any]) -> Sample:
    """One repetition, until its results are there."""
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(run())
    return Sample(time.perf_counter() - wall, time.process_time() - cpu)


def training(step: Callable, state: Any, batches: Any) -> Callable[[], Sample]:
    """Repetitions that each train on from where the one before stopped; `step` consumes its state."""
    held = [state]

    def run():
        held[0], measured = step(held[0], batches)
        return held[0], measured

    return lambda: measure(run)


def interleaved(arms: Mapping[str, Callable[[], Sample]], rounds: int, warm_up: int = 1) -> Samples:
    """One sample of each arm a round, every other one in reverse; the first `warm_up` rounds do not count."""
    samples: Samples = {name: [] for name in arms}
    for turn in range(warm_up + rounds):
        for name in list(arms)[:: -1 if turn % 2 else 1]:
            samples[name].append(arms[name]())
    return {name: own[warm_up:] for name, own in samples.items()}


def ratio(samples: Samples, arm: str, baseline: str, field: str = "wall") -> float:
    """Median over rounds of what the arm took, in units of what the baseline took in the same round."""
    pairs = zip(samples[arm], samples[baseline], strict=True)
    return statistics.median(getattr(one, field) / getattr(other, field) for one, other in pairs)


def summarise(samples: list[Sample], updates: int) -> dict[str, Any]:
    """Milliseconds an update as median, min and max, cpu/wall, and every repetition in seconds."""
    milliseconds = [1e3 * sample.wall / updates for sample in samples]
    return {
        "ms_per_update": statistics.median(milliseconds),
        "min": min(milliseconds),
        "max": max(milliseconds),
        "cpu_over_wall": statistics.median(sample.cpu / sample.wall for sample in samples),
        "updates_per_repetition": updates,
        "repetitions": [sample._asdict() for sample in samples],
    }


def compared(case: Any, samples: Samples, baseline: str, **facts: Any) -> dict[str, Any]:
    """The record of a case's arms: their times, and their ratios to the baseline."""
    return {
        "case": case.name,
        **facts,
        "ratio": {name: ratio(samples, name, baseline) for name in samples},
        "cpu_ratio": {name: ratio(samples, name, baseline, "cpu") for name in samples},
        "arms": {name: summarise(own, case.updates) for name, own in samples.items()},
    }


def row(result: dict[str, Any], name: str) -> list[str]:
    """The cells of an arm of a record: its times, and their ratios to the first arm's."""
    arm = result["arms"][name]
    times = [f"{arm['ms_per_update']:.3f}", f"{arm['min']:.3f} to {arm['max']:.3f}"]
    ratios = [f"{result[key][name]:.3f}" for key in ("ratio", "cpu_ratio")]
    return [result["case"], name, *times, *ratios, f"{arm['cpu_over_wall']:.2f}"]


def movement_apart(start, left, right) -> float:
    """How far two trainings from the same parameters ended apart, in units of how far they moved."""

    def length(ends, origins):
        pairs = zip(jax.tree.leaves(ends), jax.tree.leaves(origins), strict=True)
        return sum(float(np.sum((np.asarray(a, np.float64) - np.asarray(b)) ** 2)) for a, b in pairs) ** 0.5

    return length(right, left) / length(left, start)


def program() -> str:
    """How this command is called."""
    return f"python -m {sys.modules['__main__'].__spec__.name.removesuffix('.__main__')}"


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return {
        "hardware": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "pinned": f"core {min(allowed)}" if len(allowed) == 1 else "not pinned",
            "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        },
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
            "system": platform.platform(),
        },
        "command": " ".join([program(), *_measured_arguments()]),
    }


def _measured_arguments() -> list[str]:
    """The arguments of this command but the file that its record goes to, which lies on one machine."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--json")
    return parser.parse_known_args()[1]


def arguments_of(doc: str, quick: str = "tiny sizes and few rounds") -> argparse.ArgumentParser:
    """`--quick` for sizes that show only that the benchmark runs, and where the JSON goes."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=program(), description=doc, formatter_class=kind)
    parser.add_argument("--quick", action="store_true", help=f"{quick}: a check, not a measurement")
    record = "for the record, instead of one in results/benchmarks"
    parser.add_argument("--json", type=Path, metavar="FILE", help=record)
    return parser


def pattern(text: str) -> str:
    """A regular expression in a command."""
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"it is {text!r}, which is no regular expression ({error})") from error
    return text


def parse(parser: argparse.ArgumentParser, name: str) -> argparse.Namespace:
    """The arguments, `json` among them: a check has a file of its own, and leaves what was measured alone."""
    options = parser.parse_args()
    file = f"{name}_quick.json" if options.quick else f"{name}.json"
    options.json = options.json or Path("results", "benchmarks", file)
    try:
        writable(options.json)
    except RunError as error:
        parser.error(str(error))
    return options


def arguments(doc: str, name: str) -> argparse.Namespace:
    """Those of a benchmark that has no others."""
    return parse(arguments_of(doc), name)


def report(title: str, columns: list[str], rows: list[list[str]], record: dict[str, Any], path: Path) -> None:
    """Prints the table and writes the JSON."""
    hardware = record["hardware"]
    show(title, columns, rows, f"{hardware['processor']}, {hardware['pinned']}")
    write(path, record)
    Console().print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)


def report_arms(title: str, case: str, results: list[dict[str, Any]], rounds: int, path: Path) -> None:
    """`report` of what `compared` made, a row for each arm."""
    columns = [case, "arm", "ms/update", "min to max", "ratio", "ratio of cpu time", "cpu/wall"]
    rows = [row(result, name) for result in results for name in result["arms"]]
    report(title, columns, rows, {**machine(), "rounds": rounds, "results": results}, path)


def show(title: str, columns: list[str], rows: list[list[str]], caption: str | None = None) -> None:
    """Prints a table whose first two columns are text."""
    table = Table(title=title, caption=caption, caption_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < 2 else "right", no_wrap=index == 0)
    for row in rows:
        table.add_row(*row)
    Console(width=None if Console().is_terminal else 140).print(table)


def write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
