"""A list of runs, one after another: every cell of the tables, each with several seeds.

    python -m al_jax.analysis.cells [CONFIG[:VARIANT] ...] [--seeds 3] [--jobs 4] [--minutes 9]
                                    [--runs runs] [--results results]

Without a config it works on all cells of the tables, the most informative first. Seeds that `results/NAME.json` already
has are not run again, but refused if their config has changed since; only missing ones are run and added. NAME of
`configs/cifar_cnn.py:cifar100,short` is `cifar_cnn_cifar100_short`. Every run is inspected when it is done. A recorded
seed without an analysis is inspected if `--runs` still has its run, whose checkpoint is needed; otherwise it stays as
it is, and the list says so. The list can be stopped at any moment and takes up where it was; `--minutes` stops it by
itself, after a checkpoint. What follows `--` goes to train.py, and can only be fields that do not change what is
trained: `-- --config.data_dir=DIR`.

`--jobs` runs share the device, which a small network alone does not fill; their examples per second are then not those
of a run alone. With `--together` the seeds of a config are one run, which trains them under vmap on an accelerator.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from al_jax.analysis.options import add_options, parser_of, positive
from al_jax.analysis.published import TABLES, USUAL, name_of, with_variants
from al_jax.analysis.results import FREE, UNCOUNTED, numbers_of, record, runs_in, seeds_of
from al_jax.analysis.tasks import TRAIN, Stopped, Task, work_through
from al_jax.training.command_line import command, read_config, split_arguments, stop_request
from al_jax.training.config import MACHINES, default_config
from al_jax.training.errors import ConfigError, RunError
from al_jax.training.records import read_json

OURS = ((), ("backprop",), USUAL, ("contrast",))
AUTHORS = (("authors",), ("authors_backprop",))


def all_cells() -> list[str]:
    """Every cell of the tables: first what is ours and backprop of the same budget, and of each CIFAR before MNIST.

    Then the network of Tables 5 and 6, difference target propagation, the authors' recipes, and digits.
    """
    rows = [row for number in (3, 4, 2) for row in TABLES[number][1]]
    ours, authors = (
        [with_variants(row.config, *arm) for row in rows for arm in arms if row.has(arm)] for arms in (OURS, AUTHORS)
    )
    others = ["mnist_mlp:three", *(row.difference for row in rows if row.difference)]
    small = [with_variants(row.config, "smoke", *arm) for row in rows if ":" not in row.config for arm in OURS[:2]]
    cells = [*ours, *others, *authors, *small]
    return [f"configs/{stem}.py{colon}{variants}" for stem, colon, variants in (cell.partition(":") for cell in cells)]


def tasks_of(config: str, runs: Path, seeds: Sequence[int], together: bool) -> list[Task]:
    """The runs of these seeds of one cell; together where they follow each other, as train.py counts them."""
    if together and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return [Task.of(config, runs, seeds[0], len(seeds))]
    return [Task.of(config, runs, seed) for seed in seeds]


def work(
    configs: Sequence[str], arguments: Sequence[str], given: argparse.Namespace, stop: Callable[[], int] = lambda: 0
) -> int:
    """Works through the cells until every one is recorded with so many seeds, or `stop` gives a signal.

    Returns:
      How many runs were to be trained or inspected.

    Raises:
      Stopped: before that; the same call continues.
      RunError: at the end, some runs failed, whose own messages stand above; at once, there is no train.py to run, or a
        config cannot be read or has changed since it was trained.
    """
    _refuse(arguments)
    if not TRAIN.exists():
        raise RunError("the list runs train.py of a clone of the repository, and there is none beside this package")
    deadline = time.monotonic() + 60 * given.minutes
    cells = {}
    for config in configs:
        read_config(config, {})  # before anything is trained
    for config in configs:
        path = given.results / f"{name_of(config)}.json"
        kept, tasks = _plan(config, path, given)
        for trained in [*kept, *(read_json(task.summary) for task in tasks if task.trained)]:
            _refuse_stale(config, path, trained["config"])
        if tasks:
            cells[path] = kept, tasks
    waiting, failed = [task for _, tasks in cells.values() for task in tasks], {}

    def over() -> bool:
        return bool(stop()) or time.monotonic() >= deadline

    for done in work_through(waiting, arguments, given.jobs, over, failed):
        for path, (kept, tasks) in cells.items():
            if done in tasks and not any(task.command(arguments) for task in tasks):
                record(path, [task.workdir for task in tasks], kept)
                print(path, flush=True)
    if failed:
        runs = ", ".join(f"{workdir} with exit status {status}" for workdir, status in failed.items())
        raise RunError(f"what these runs said stands above: {runs}")
    return len(waiting)


def _plan(config: str, path: Path, given: argparse.Namespace) -> tuple[list[Mapping[str, Any]], list[Task]]:
    """The recorded runs of a cell that stay as they are, and what is to be run or inspected."""
    kept, tasks = [], []
    recorded = runs_in(path) if path.exists() else []
    for run in recorded:
        own = run["config"]
        task = Task.of(config, given.runs, own["seed"], own.get("num_seeds", 1))
        if own.get("rule") in MACHINES or all("analysis" in entry for entry in seeds_of([run])):
            kept.append(run)
        elif task.trained and read_json(task.summary)["digest"] == run["digest"]:
            tasks.append(task)
        else:
            kept.append(run)
            numbers = numbers_of(seeds_of([run]))
            print(
                f"{path} has no analysis of seed {numbers}, whose run is not in {task.workdir}: it stays so", flush=True
            )
    done = {entry["seed"] for entry in seeds_of(recorded)}
    if missing := [seed for seed in range(given.seeds) if seed not in done]:
        tasks += tasks_of(config, given.runs, missing, given.together)
    return kept, tasks


def _refuse(arguments: Sequence[str]) -> None:
    """Refuses fields that would make another network or training of what stands under the config's name."""
    for argument in arguments:
        field = argument.removeprefix("--config.").split("=", 1)[0]
        if not argument.startswith("--config.") or field not in FREE:
            raise ConfigError(f"{argument}: only fields that change no result may be given, {', '.join(sorted(FREE))}")


def _refuse_stale(config: str, path: Path, trained: Mapping[str, Any]) -> None:
    """Refuses a result, or a run for it, that the config would not give any more.

    A field that did not exist yet when it was trained had its default; one that no longer exists does not count.
    """
    now, trained = read_config(config, {}).to_dict(), {**default_config().to_dict(), **trained}
    changed = [f"{f}: {trained[f]!r} -> {now[f]!r}" for f in sorted(set(now) - UNCOUNTED) if trained[f] != now[f]]
    if changed:
        raise RunError(
            f"{config} has changed since runs for {path} were trained ({', '.join(changed)}): move the result and its "
            "runs away, or name other folders with --results and --runs"
        )


def main() -> None:
    own, of_train = split_arguments(sys.argv[1:])
    parser = parser_of("cells", __doc__)
    what = "configs as train.py takes them; all cells of the tables by default"
    parser.add_argument("configs", nargs="*", default=all_cells(), metavar="CONFIG", help=what)
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help="how many, from 0 on; 3 by default")
    add_options(parser)
    given = parser.parse_args(own)
    with stop_request() as stop:
        todo = work(given.configs, of_train, given, stop)
    if not todo:
        print(f"nothing to do: {given.results} has all of these seeds")


if __name__ == "__main__":
    command(main, Stopped, again="continues")
