"""Measured numbers: from the summaries of finished runs to `results/*.json`, and from there to tables.

python -m al_jax.analysis.results record results/digits.json runs/digits-0 runs/digits-1 runs/digits-2
python -m al_jax.analysis.results table results/*.json
"""

import argparse
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from al_jax.analysis.options import parser_of
from al_jax.training.command_line import command
from al_jax.training.config import MAY_CHANGE, default_config
from al_jax.training.errors import RunError
from al_jax.training.records import read_json, write_json

CIFAR_10_NOTE = (
    "The CIFAR-10 of these results is a copy in which 18 of the 10,000 test images are decoded from JPEG files."
)
# Where something lies on one machine is no part of a result.
PATHS = ("data_dir", "warm_start")
# Fields that may differ between the seeds of a result.
FREE = MAY_CHANGE - {"epochs", "evaluate"}
# Fields that make no other result: those, seeds and paths.
UNCOUNTED = FREE | {"seed", "num_seeds", *PATHS}


def record(path: Path, workdirs: Sequence[Path], earlier: Sequence[Mapping[str, Any]] = ()) -> None:
    """Writes the summaries of runs that differ in nothing but their seeds into one file, with their analyses.

    Args:
      path: the file.
      workdirs: of the runs.
      earlier: runs that such a file has already and that stay in it. A field that did not exist yet when they were
        trained had its default, and one that no longer exists does not count.

    Raises:
      RunError: one has no summary, two have the same seed, or they differ in more than the seed.
    """
    summaries = sorted([*earlier, *map(_summary, workdirs)], key=lambda summary: summary["config"]["seed"])
    defaults, free = default_config().to_dict(), FREE | {"seed", "num_seeds"}
    settings = [
        {name: summary["config"].get(name, default) for name, default in defaults.items() if name not in free}
        for summary in summaries
    ]
    changed = {
        f"{name} ({value!r}, {other[name]!r})"
        for other in settings
        for name, value in settings[0].items()
        if other[name] != value
    }
    if changed:
        raise RunError(
            f"the runs for {path} differ in more than their seeds, in {', '.join(sorted(changed))}: record those that "
            "do not, and the others in other files"
        )
    numbers = [entry["seed"] for entry in seeds_of(summaries)]
    if len(set(numbers)) < len(numbers):
        raise RunError(f"the runs for {path} have the seeds {', '.join(map(str, numbers))}: give each seed once")
    write_json(path, {"name": path.stem, "runs": summaries})


def _summary(workdir: Path) -> dict[str, Any]:
    """summary.json without paths, and each seed's analysis in it."""
    if not (workdir / "summary.json").exists():
        raise RunError(f"there is no summary.json in {workdir}: give the folder of a run that was trained to its end")
    summary = read_json(workdir / "summary.json", "config", "digest")
    for field in PATHS:
        path = summary["config"].pop(field)
        if field == "warm_start" and path:  # what it began with is part of a result, by its folder's name
            summary["config"][field] = Path(path).name
    if (workdir / "analysis.json").exists():
        if not analysed(workdir, summary):
            raise RunError(
                f"{workdir} was trained on since its analysis: run python -m al_jax.analysis.inspect {workdir} again"
            )
        entries = summary.get("seeds", [summary])
        for entry, analysis in zip(entries, read_json(workdir / "analysis.json")["seeds"], strict=True):
            entry["analysis"] = {name: value for name, value in analysis.items() if name != "digest"}
    return summary


def runs_in(path: Path) -> list[dict[str, Any]]:
    """The runs in a file that `record` wrote.

    Raises:
      RunError: it is another kind of file.
    """
    runs = read_json(path, "runs")["runs"]
    if not isinstance(runs, list) or not runs or not all(isinstance(run, dict) and "config" in run for run in runs):
        raise RunError(f"{path} holds no results of a config: give a file that al_jax.analysis.results records")
    return runs


def analysed(workdir: Path, summary: Mapping[str, Any]) -> bool:
    """Whether there is an analysis of the run's last state."""
    path = workdir / "analysis.json"
    if not path.exists():
        return False
    found = [analysis.get("digest") for analysis in read_json(path, "seeds")["seeds"]]
    return found == [entry["digest"] for entry in seeds_of([summary])]


def table(paths: Sequence[Path]) -> str:
    """A Markdown row for each file: accuracy at the last epoch as mean ± standard deviation over seeds, and the effort.

    Files of another kind, such as that of `al_jax.analysis.depth`, have none.

    Raises:
      RunError: all of them are of another kind.
    """
    rows = [
        "| run | test accuracy | validation | seeds | epochs | wall time a seed | hardware |",
        "|---|---|---|---|---|---|---|",
    ]
    head, of_cifar_10 = len(rows), False
    for path in paths:
        runs = read_json(path).get("runs")
        if not runs or "config" not in runs[0]:
            continue
        seeds = seeds_of(runs)
        rows.append(
            f"| {path.stem} | {in_percent(entry['test_accuracy'] for entry in seeds)} | {validation_of(seeds)} | "
            f"{numbers_of(seeds)} | {epochs_of(runs)} | {minutes_a_seed(runs):.1f} min | {hardware_of(runs)} |"
        )
        of_cifar_10 = of_cifar_10 or runs[0]["config"].get("dataset") == "cifar10"
    if len(rows) == head:
        raise RunError(f"no results of a config in {', '.join(map(str, paths))}: give files that record wrote")
    return "\n".join([*rows, f"\n{CIFAR_10_NOTE}"] if of_cifar_10 else rows)


def validation_of(seeds: Sequence[Mapping[str, Any]]) -> str:
    """Validation accuracy over seeds, a dash where no images were held out for it."""
    found = [entry["validation_accuracy"] for entry in seeds if "validation_accuracy" in entry]
    return in_percent(found) if found else "–"


def seeds_of(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The accuracies of each seed, whether each had a run of its own or several shared one."""
    return [entry for run in runs for entry in run.get("seeds", [{**run, "seed": run["config"]["seed"]}])]


def in_percent(shares: Iterable[float]) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{with_spread(100 * share for share in shares)} %"


def with_spread(numbers: Iterable[float], mean: str = ".2f", spread: str = ".2f") -> str:
    """Mean ± standard deviation over seeds, in these formats; the mean alone of one seed."""
    values = list(numbers)
    deviation = f" ± {statistics.stdev(values):{spread}}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{mean}}{deviation}"


def epochs_of(runs: Sequence[Mapping[str, Any]]) -> str:
    """How many, and of how many images where a run saw so many only."""
    images = runs[0]["config"].get("examples")
    return f"{runs[0]['epochs']} of {images:,} images" if images else str(runs[0]["epochs"])


def numbers_of(seeds: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(entry["seed"]) for entry in seeds)


def minutes_a_seed(runs: Sequence[Mapping[str, Any]]) -> float:
    """Wall time, evaluations and compilation included."""
    return sum(run["wall_seconds"] for run in runs) / len(seeds_of(runs)) / 60


def hardware_of(runs: Sequence[Mapping[str, Any]]) -> str:
    found = [run["processor"] if run["backend"] == "cpu" else run["device"] for run in runs]
    return "; ".join(dict.fromkeys(found))


def _record(given: argparse.Namespace) -> None:
    record(given.path, given.workdirs)
    print(given.path)


def main() -> None:
    parser = parser_of("results", __doc__)
    commands = parser.add_subparsers(required=True)
    recording = commands.add_parser("record", help="write the summaries of runs that differ in their seeds to a file")
    recording.add_argument("path", type=Path, metavar="FILE", help="where they go; the file's name names the result")
    recording.add_argument("workdirs", type=Path, nargs="+", metavar="RUN", help="folders of finished runs")
    recording.set_defaults(run=_record)
    rendering = commands.add_parser("table", help="print a Markdown table of such files")
    rendering.add_argument("paths", type=Path, nargs="+", metavar="FILE", help="what record wrote")
    rendering.set_defaults(run=lambda given: print(table(given.paths)))
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    command(main)
