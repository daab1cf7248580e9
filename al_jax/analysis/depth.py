"""Accuracy and gradients against depth: Associated Learning and backpropagation on networks of 2 to 64 layers.

    python -m al_jax.analysis.depth [--dataset digits] [--depths 2,4,8,16,32,64] [--seeds 3] [--out results/depth.json]

Every network is an mlp of so many layers of 128 units; Associated Learning folds it into as many components, with
codes trained beforehand. Gradients are those of each layer's kernel by its own loss on one training batch, at the
first update (with the codes ready) and at the end. The figure stands beside the JSON file.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from al_jax.analysis.plots import COLOURS, finish
from al_jax.analysis.results import hardware_of
from al_jax.components import with_prepare
from al_jax.data import DataError, gather
from al_jax.training.config import Config, default_config
from al_jax.training.errors import RunError
from al_jax.training.loop import Training
from al_jax.training.recipes import BACKPROP
from al_jax.training.records import read_json, write_json
from al_jax.training.run import Run, claimed, set_up
from al_jax.training.summary import summarise
from al_jax.types import ComponentState

RULES = {"associated": {"codes": "pretrained", "code_updates": 5000}, "backprop": BACKPROP}
WIDTH = 128


def measure(config: Config, workdir: Path) -> dict[str, Any]:
    """Trains one network; returns accuracy, and gradient norms from the input upwards at the beginning and the end."""
    run = set_up(config, workdir)
    with claimed(config, workdir):
        training = Training(run)
        before = gradient_norms(run, training.components)
        finished = training.finish()
    summary = summarise(run, finished)
    return {
        "rule": config.rule,
        "depth": config.components,
        "seed": config.seed,
        "test_accuracy": summary["test_accuracy"],
        "train_accuracy": summary["train_accuracy"],
        "gradients_before": before,
        "gradients_after": gradient_norms(run, finished.components),
        **{name: summary[name] for name in ("epochs", "wall_seconds", "backend", "device", "processor")},
    }


def gradient_norms(run: Run, components: Sequence[ComponentState]) -> list[float]:
    """The norm of the gradient of each layer's kernel by the loss that trains it, on the first training batch."""
    network = with_prepare(run.network, run.prepare)
    signal: Any = gather(run.dataset.train, np.arange(run.config.batch_size))
    norms = []
    for part, own in zip(network.components, components, strict=True):

        def objective(params, signal, part=part, own=own):
            variables = {"params": params, **own.model_state}
            signal_up, losses, _ = part.apply(variables, signal, jax.random.key(0), True)
            return sum(losses.values()), signal_up

        gradients, signal = jax.jit(jax.grad(objective, has_aux=True))(own.params, signal)
        blocks = (
            [gradients["f"]] if "f" in gradients else [gradients[f"blocks_{i}"] for i in range(run.config.components)]
        )
        norms += [float(jnp.linalg.norm(block["Dense_0"]["kernel"])) for block in blocks]
    return norms


def draw(entries: Sequence[Mapping[str, Any]]) -> Figure:
    """Accuracy by depth, and the gradients of the deepest networks from layer to layer."""
    figure = Figure(figsize=(10.4, 3.6), layout="constrained")
    accuracy, gradients = figure.subplots(1, 2)
    deepest = max(entry["depth"] for entry in entries)
    for rule, colour in zip(RULES, COLOURS, strict=False):
        own = [entry for entry in entries if entry["rule"] == rule]
        depths = sorted({entry["depth"] for entry in own})
        values = [[entry["test_accuracy"] for entry in own if entry["depth"] == depth] for depth in depths]
        mean, spread = (np.array([f(v) for v in values]) for f in (np.mean, np.std))
        accuracy.errorbar(depths, mean, spread, color=colour, marker="o", linewidth=1.2, capsize=2, label=rule)
        for when, dash in (("before", "--"), ("after", "-")):
            norms = np.mean([entry[f"gradients_{when}"] for entry in own if entry["depth"] == deepest], axis=0)
            layers = np.arange(1, deepest + 1)
            gradients.plot(layers, norms, dash, color=colour, linewidth=1.2, label=f"{rule}, {when} training")
    accuracy.set_xscale("log", base=2)
    accuracy.set_xticks(sorted({entry["depth"] for entry in entries}), minor=False)
    accuracy.xaxis.set_major_formatter(lambda depth, _: f"{depth:g}")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    accuracy.set(title="test accuracy", xlabel="layers")
    gradients.set(
        title=f"gradients of {deepest} layers", xlabel="layer", ylabel="norm of the kernel's gradient", yscale="log"
    )
    for axes in (accuracy, gradients):
        finish(axes)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m al_jax.analysis.depth", description="Accuracy against depth.")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--depths", default="2,4,8,16,32,64")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("results/depth.json"))
    given = parser.parse_args()
    entries: list[dict[str, Any]] = read_json(given.out)["runs"] if given.out.exists() else []
    done = {(entry["rule"], entry["depth"], entry["seed"]) for entry in entries}
    for depth in map(int, given.depths.split(",")):
        for seed in range(given.seeds):
            for rule, fields in RULES.items():
                if (rule, depth, seed) in done:
                    continue
                config = default_config(
                    **fields, dataset=given.dataset, data_dir=given.data_dir, components=depth, width=WIDTH, code=WIDTH,
                    epochs=given.epochs, eval_every=given.epochs, seed=seed,
                )  # fmt: skip
                with tempfile.TemporaryDirectory() as workdir:
                    entries.append(measure(config, Path(workdir)))
                write_json(given.out, {"name": given.out.stem, "dataset": given.dataset, "runs": entries})
    draw(entries).savefig(given.out.with_suffix(".png"), dpi=140)
    print(f"{given.out}, {given.out.with_suffix('.png')}; {hardware_of(entries)}")


if __name__ == "__main__":
    try:
        main()
    except (RunError, DataError) as error:
        sys.exit(f"error: {error}")
