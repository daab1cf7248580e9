"""summary.json and the plots: what a finished run leaves."""

import datetime
import json
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jaxlib

from al_jax.chain import parameter_counts
from al_jax.training import derived
from al_jax.training.config import MACHINES
from al_jax.training.digest import digest
from al_jax.training.measures import without_measures
from al_jax.training.records import read_rows, write_json
from al_jax.training.run import Finished, Run, per_seed

SHOWN_MICRO_BATCHES = 12  # in the picture of the schedule


def summarise(run: Run, finished: Finished, alive: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Evaluates the components on every split, for summary.json; calls `alive` after every batch.

    With several seeds, accuracies are means, `*_std` their standard deviations, `seeds` has each seed's own, and
    `digest` is that of all of them together.
    """
    splits = {**run.held_out, "train": run.dataset.train}
    rows, seeds = read_rows(run.workdir), []
    for seed, own in zip(run.seeds, per_seed(run, finished.components), strict=True):
        variables = [part.variables for part in own]
        accuracies = {name: run.evaluate(variables, split, alive) for name, split in splits.items()}
        entry: dict[str, Any] = {}
        for name, accuracy in accuracies.items():
            entry |= accuracy.named(name, run.facts.classes)
        entry["accuracy_by_depth"] = list(accuracies["test"].by_depth)
        if "test_top5_accuracy" in entry:
            entry["top5_accuracy_by_depth"] = list(accuracies["test"].top5_by_depth)
        entry["losses"] = _last_losses([row for row in rows if row.get("seed", seed) == seed])
        seeds.append({"seed": seed, **entry, "digest": digest(own)})
    return {
        **(_averaged(seeds) if len(seeds) > 1 else seeds[0]),
        "digest": digest(finished.components),
        "updates": run.updates,
        "epochs": run.config.epochs,
        "examples_per_second": finished.examples_per_second,
        "wall_seconds": finished.wall_seconds,
        **({"partition": list(finished.partition)} if finished.partition else {}),
        **_parameters(run),
        **machine(),
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **({"commit": run.commit} if run.commit else {}),
        "config": json.loads((run.workdir / "config.json").read_text()),  # as it was trained
    }


def write_summary(run: Run, summary: Mapping[str, Any]) -> None:
    """Writes summary.json, and draws losses and accuracy of the first seed and the beginning of the schedule."""
    # Matplotlib takes a while, and not every process comes as far as this.
    from al_jax import schedule
    from al_jax.training.diagnostics_plot import plot_diagnostics
    from al_jax.training.plots import plot_accuracy, plot_losses

    write_json(run.workdir / "summary.json", summary)
    rows = [row for row in read_rows(run.workdir) if row.get("seed", run.config.seed) == run.config.seed]
    if rows:
        plot_losses(without_measures(rows), run.workdir / "losses.png")
        plot_accuracy(rows, run.workdir / "accuracy.png")
    if run.config.rule in MACHINES:  # its parts wait for each other, so there is no schedule
        if run.config.diagnose:
            plot_diagnostics(rows, run.workdir / "diagnostics.png")
        return
    components, devices = len(run.network.components), derived.stages(run.config)
    partition, accumulate = summary.get("partition"), run.config.accumulate
    tasks = schedule.associated(components, devices, SHOWN_MICRO_BATCHES, partition, accumulate)
    title = f"{components} component{'s' * (components > 1)} on {devices} device{'s' * (devices > 1)}"
    schedule.draw({title: tasks}, run.workdir / "schedule.png")


def _averaged(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name in seeds[0] if name.endswith("_accuracy")]
    averages: dict[str, Any] = {"seeds": seeds}
    for name in names:
        values = [entry[name] for entry in seeds]
        averages |= {name: statistics.mean(values), f"{name}_std": statistics.stdev(values)}
    for name in (name for name in seeds[0] if name.endswith("_by_depth")):
        depths = zip(*(entry[name] for entry in seeds), strict=True)
        averages[name] = [statistics.mean(depth) for depth in depths]
    return averages


def _last_losses(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Every loss as the mean over the last call's updates, on training batches."""
    found = without_measures([row for row in rows if any(name.startswith("component_") for name in row)])
    return {name: loss for name, loss in found[-1].items() if name.startswith("component_")} if found else {}


def _parameters(run: Run) -> dict[str, int]:
    parameters, effective = parameter_counts(run.network, [part.params for part in run.shapes])
    return {"parameters": parameters, "effective_parameters": effective}


def machine() -> dict[str, str]:
    """What a result depends on besides the code and its config."""
    return {
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "python": platform.python_version(),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "processor": f"{processor()}, {platform.machine()}",
    }


def processor() -> str:
    """The name of the CPU's model."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
