"""Configs compared with a reference, seed by seed: is one as good as the other, and what does each cost?

    python -m al_jax.analysis.compare configs/cifar_resnet.py:backprop configs/cifar_resnet.py [...] [--seeds 5]
        [--margin 0.5] [--level 0.95] [--out FILE] [--minutes M] [--runs runs] [--results results] [--together]

The first is the reference. What `results/NAME.json` lacks is run as `al_jax.analysis.cells` does, with seeds 0, 1, …;
after a stop the same command continues, and what follows `--` goes to train.py. A results file in place of a config is
taken as it is; if all are files, all their seeds count. The table is Markdown: differences in percentage points of test
accuracy after the last epoch.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from al_jax.analysis import cells
from al_jax.analysis.options import add_options, parser_of
from al_jax.analysis.paired import paired_difference
from al_jax.analysis.published import name_of
from al_jax.analysis.results import (
    CIFAR_10_NOTE,
    UNCOUNTED,
    hardware_of,
    in_percent,
    minutes_a_seed,
    numbers_of,
    runs_in,
    seeds_of,
)
from al_jax.analysis.tasks import Stopped
from al_jax.training.command_line import command, split_arguments, stop_request
from al_jax.training.config import default_config, differences
from al_jax.training.errors import RunError
from al_jax.training.records import writable

HEADER = (
    "run",
    "test accuracy",
    "difference, points",
    "interval",
    "non-inferior",
    "parameters, training",
    "inference",
    "forward MACs, training",
    "epochs",
    "wall time a seed",
)


class Arm(NamedTuple):
    """The runs of one config and those of its seeds that are compared, in their order."""

    name: str
    runs: Sequence[Mapping[str, Any]]
    seeds: Sequence[Mapping[str, Any]]

    @property
    def config(self) -> dict[str, Any]:
        """Its fields, with the defaults of those that did not exist yet and of those that change no result."""
        own = {name: value for name, value in self.runs[0]["config"].items() if name not in UNCOUNTED}
        return {**default_config().to_dict(), **own}

    @property
    def points(self) -> list[float]:
        return [100 * entry["test_accuracy"] for entry in self.seeds]


def compare(paths: Sequence[Path], seeds: Sequence[int] | None = None, margin: float = 0.5, level: float = 0.95) -> str:
    """A Markdown table of results files, each compared with the first.

    Args:
      paths: files that `results.record` wrote.
      seeds: which are compared; all by default, which must then be the same in every file.
      margin: how many percentage points a result that is not inferior may lie below the reference.
      level: of confidence.

    Raises:
      RunError: a file lacks a seed, there are fewer than two, or the files are of different data sets.
    """
    arms = [_read(path, seeds) for path in paths]
    _check(arms, margin, level)
    rows = [HEADER, ("---",) * len(HEADER), *(_row(arm, arms[0], margin, level) for arm in arms)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([table, "", *(f"- {note}" for note in _notes(arms, margin, level))])


def _read(path: Path, wanted: Sequence[int] | None) -> Arm:
    runs = runs_in(path)
    by_number = {entry["seed"]: entry for entry in seeds_of(runs)}
    numbers = sorted(by_number) if wanted is None else wanted
    if missing := [number for number in numbers if number not in by_number]:
        raise RunError(
            f"{path} has the seeds {', '.join(map(str, sorted(by_number)))} and lacks {', '.join(map(str, missing))}: "
            "pairs need the same seeds in every file"
        )
    return Arm(path.stem, runs, [by_number[number] for number in numbers])


def _check(arms: Sequence[Arm], margin: float, level: float) -> None:
    """Refuses what makes no pairs."""
    reference, *others = arms
    if not others:
        raise RunError(f"{reference.name} alone is no comparison: give at least two configs or results files")
    if not 0 < level < 1 or not margin >= 0:
        raise RunError(f"the level is {level} and the margin {margin}: a level between 0 and 1, a margin from 0")
    if len(reference.seeds) < 2:
        raise RunError(f"an interval needs at least 2 seeds, and {reference.name} has {len(reference.seeds)}")
    for arm in others:
        if numbers_of(arm.seeds) != numbers_of(reference.seeds):
            raise RunError(
                f"{reference.name} has the seeds {numbers_of(reference.seeds)}, but {arm.name} has "
                f"{numbers_of(arm.seeds)}: pairs need the same seeds in every file"
            )
        if (own := arm.config["dataset"]) != (other := reference.config["dataset"]):
            raise RunError(f"{reference.name} was trained on {other}, but {arm.name} on {own}: there is no pair")


def _row(arm: Arm, reference: Arm, margin: float, level: float) -> tuple[str, ...]:
    judged = ("reference", "", "")
    if arm is not reference:
        found = paired_difference(arm.points, reference.points, level)
        interval = f"{found.low:+.2f} to {found.high:+.2f}"
        verdict = f"{'yes' if found.non_inferior(margin) else 'no'}, {found.bound:+.2f}"
        judged = (f"{found.mean:+.2f}", interval, verdict)
    return (
        arm.name,
        in_percent(entry["test_accuracy"] for entry in arm.seeds),
        *judged,
        f"{arm.runs[0]['parameters']:,}",
        f"{arm.runs[0]['effective_parameters']:,}",
        _macs(arm),
        str(arm.runs[0]["epochs"]),
        f"{minutes_a_seed(arm.runs):.1f} min",
    )


def _macs(arm: Arm) -> str:
    """Of all components together, an image; known of runs that were inspected."""
    counts = [sum(entry["analysis"]["macs"]["training"]) for entry in arm.seeds if "analysis" in entry]
    return f"{counts[0] / 1e6:,.1f} million" if counts else "–"


def _notes(arms: Sequence[Arm], margin: float, level: float) -> list[str]:
    """What stands below the table: how it was computed, and what is not the same in all rows."""
    reference, *others = arms
    number, percent = len(reference.seeds), f"{100 * level:g} %"
    hardware = dict.fromkeys(hardware_of(arm.runs) for arm in arms)
    notes = [
        f"Paired over the seeds {numbers_of(reference.seeds)}; difference and two-sided {percent} interval by "
        f"Student's t with {number - 1} degrees of freedom.",
        f"Non-inferior by {margin:g}: the number beside the answer, the lower end of the one-sided {percent} interval, "
        f"lies above -{margin:g}.",
        f"Wall times on {', '.join(hardware)}{', which cannot be compared' if len(hardware) > 1 else ''}.",
    ]
    for arm in others:
        changed = differences(reference.config, arm.config)
        if arm.runs[0]["epochs"] != reference.runs[0]["epochs"]:
            changed.append(f"epochs: {reference.runs[0]['epochs']} -> {arm.runs[0]['epochs']}")
        notes.append(f"{reference.name} -> {arm.name}: {'; '.join(changed) or 'the same configuration'}.")
    return [*notes, CIFAR_10_NOTE] if reference.config["dataset"] == "cifar10" else notes


def _options() -> argparse.ArgumentParser:
    parser = parser_of("compare", __doc__)
    what = "the reference first: configs as train.py takes them, or files of results"
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help=what)
    number = "how many, from 0 on; by default 5, but all of results files alone"
    parser.add_argument("--seeds", type=int, metavar="N", help=number)
    below = "by how many percentage points a run that is not inferior may lie below the reference; 0.5 by default"
    parser.add_argument("--margin", type=float, default=0.5, metavar="POINTS", help=below)
    parser.add_argument("--level", type=float, default=0.95, help="of confidence; 0.95 by default")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the table is written, too")
    add_options(parser)
    return parser


def main() -> None:
    own, of_train = split_arguments(sys.argv[1:])
    parser = _options()
    given = parser.parse_args(own)
    to_run = [config for config in given.configs if not config.endswith(".json")]
    given.seeds = 5 if given.seeds is None and to_run else given.seeds
    # What is wrong in the command itself must not come out after hours of runs.
    wrong = {
        "give at least 2 configs or results files": len(given.configs) < 2,
        f"--seeds is {given.seeds}: give at least 2": given.seeds is not None and given.seeds < 2,
        f"--level is {given.level}: give a number between 0 and 1, as 0.95": not 0 < given.level < 1,
        f"--margin is {given.margin}: give 0 or more": not given.margin >= 0,
    }
    if any(wrong.values()):
        parser.error("; ".join(sentence for sentence, is_so in wrong.items() if is_so))
    if given.out:
        writable(given.out)
    if to_run:
        with stop_request() as stop:
            cells.work(to_run, of_train, given, stop)
    paths = [Path(c) if c.endswith(".json") else given.results / f"{name_of(c)}.json" for c in given.configs]
    table = compare(paths, range(given.seeds) if given.seeds else None, given.margin, given.level)
    print(table)
    if given.out:
        given.out.write_text(table + "\n")


if __name__ == "__main__":
    command(main, Stopped, again="continues")
