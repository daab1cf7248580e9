"""Accuracy and gradients against depth: Associated Learning and backpropagation on networks of 2 to 64 components.

    python -m al_jax.analysis.depth [--dataset digits] [--depths 2,4,8,16,32,64] [--seeds 2] [--epochs 20]
                                    [--width 128] [--data_dir DIR] [--out results/depth.json]

Every network is an mlp of K layers, folded into as many components, with codes trained beforehand; K is the `depth` of
the file. Both rules predict by the same network, which is deeper than that: K layers up, two of the bridge and K down,
2K + 2 in all. The gradient of backpropagation passes all of them, that of a component of Associated Learning three, its
own layer and the bridge's two. Gradients are those of the kernels of the K layers by the loss that trains them, on one
training batch, at the first update (with the codes ready) and at the end. The figure stands beside the JSON file.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from al_jax.analysis.options import DATA_DIR, parser_of, positive
from al_jax.analysis.pictures import plot_seeds
from al_jax.analysis.results import hardware_of
from al_jax.components import with_prepare
from al_jax.data import gather
from al_jax.training.command_line import command
from al_jax.training.config import Config, default_config
from al_jax.training.errors import RunError
from al_jax.training.loop import Training
from al_jax.training.plots import COLOURS, finish, percent
from al_jax.training.recipes import BACKPROP
from al_jax.training.records import read_json, writable, write_json
from al_jax.training.run import Run, set_up
from al_jax.training.summary import summarise
from al_jax.training.workdir import claimed
from al_jax.types import ComponentState

RULES = {"associated": {"codes": "pretrained", "code_updates": 5000}, "backprop": BACKPROP}
NAMES = {"associated": "Associated Learning", "backprop": "backpropagation"}


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
    """The norm of the gradient of each layer's kernel by the loss that trains it, on a batch of training examples."""
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
    """Accuracy and the lowest layer's gradient by number of components, and those of the deepest networks by layer."""
    figure = Figure(figsize=(14.4, 3.6), layout="constrained")
    accuracy, lowest, gradients = figure.subplots(1, 3)
    deepest = max(entry["depth"] for entry in entries)
    for rule, colour in zip(RULES, COLOURS, strict=False):
        own = [entry for entry in entries if entry["rule"] == rule]
        depths = sorted({entry["depth"] for entry in own})
        values = [[entry["test_accuracy"] for entry in own if entry["depth"] == depth] for depth in depths]
        plot_seeds(accuracy, depths, list(zip(*values, strict=True)), color=colour, label=NAMES[rule])
        for when, dash in (("before", "--"), ("after", "-")):
            first = [[entry[f"gradients_{when}"][0] for entry in own if entry["depth"] == depth] for depth in depths]
            label = f"{NAMES[rule]}, {when} training"
            lowest.plot(depths, [np.mean(norms) for norms in first], dash, color=colour, linewidth=1.2, label=label)
            norms = np.mean([entry[f"gradients_{when}"] for entry in own if entry["depth"] == deepest], axis=0)
            layers = np.arange(1, deepest + 1)
            gradients.plot(layers, norms, dash, color=colour, linewidth=1.2, label=label)
    for axes in (accuracy, lowest):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({entry["depth"] for entry in entries}), minor=False)
        axes.xaxis.set_major_formatter(lambda depth, _: f"{depth:g}")
    accuracy.yaxis.set_major_formatter(percent)
    accuracy.set(title="test accuracy", xlabel="components K (backpropagation through 2K + 2 layers)")
    lowest.set(title="gradient of the lowest layer", xlabel="components K", ylabel="norm", yscale="log")
    gradients.set(
        title=f"gradients, K = {deepest}",
        xlabel="component, by its layer's kernel",
        ylabel="norm of the kernel's gradient",
        yscale="log",
    )
    for axes in (accuracy, lowest, gradients):
        finish(axes)
    # One legend for both panels of gradients, and below, since the curves may be anywhere.
    for axes in (lowest, gradients):
        axes.get_legend().remove()
    figure.legend(*lowest.get_legend_handles_labels(), frameon=False, fontsize=8, ncols=4, loc="outside lower right")
    return figure


def main() -> None:
    parser = parser_of("depth", __doc__)
    parser.add_argument("--dataset", default="digits", metavar="NAME", help="digits by default")
    parser.add_argument("--data_dir", default="", metavar="DIR", help=DATA_DIR)
    parser.add_argument("--depths", default="2,4,8,16,32,64", help="values of K; 2,4,8,16,32,64 by default")
    parser.add_argument("--seeds", type=positive, default=2, metavar="N", help="how many, from 0 on; 2 by default")
    parser.add_argument("--epochs", type=positive, default=20, metavar="N", help="of each training; 20 by default")
    file = Path("results/depth.json")
    parser.add_argument("--out", type=Path, default=file, metavar="FILE", help=f"a JSON file; {file} by default")
    parser.add_argument("--width", type=positive, default=128, metavar="N", help="of layers and codes; 128 by default")
    given = parser.parse_args()
    if given.out.suffix != ".json":
        parser.error(f"--out is {given.out}: give a name that ends in .json, beside which the figure goes")
    if not all(depth.isdecimal() and int(depth) for depth in given.depths.split(",")):
        parser.error(f"--depths is {given.depths}: give whole numbers from 1 on with commas between them")
    of = {"name": given.out.stem, "dataset": given.dataset, "epochs": given.epochs, "width": given.width}
    entries = _earlier(writable(given.out), of)
    done = {(entry["rule"], entry["depth"], entry["seed"]) for entry in entries}
    for depth in map(int, given.depths.split(",")):
        for seed in range(given.seeds):
            for rule, fields in RULES.items():
                if (rule, depth, seed) in done:
                    continue
                fields = {**fields, "dataset": given.dataset, "data_dir": given.data_dir, "epochs": given.epochs}
                fields |= {"components": depth, "width": given.width, "code": given.width, "seed": seed}
                print(f"{NAMES[rule]}, {depth} components, seed {seed}", flush=True)
                with tempfile.TemporaryDirectory() as workdir:
                    entries.append(measure(default_config(**fields, eval_every=given.epochs), Path(workdir)))
                write_json(given.out, {**of, "runs": entries})
    draw(entries).savefig(given.out.with_suffix(".png"), dpi=140)
    print(f"{given.out}, {given.out.with_suffix('.png')}; {hardware_of(entries)}")


def _earlier(path: Path, of: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The runs that a file has already."""
    if not path.exists():
        return []
    found = read_json(path, *of, "runs")
    if other := [f"{name} {found[name]}, not {of[name]}" for name in of if found[name] != of[name]]:
        raise RunError(f"{path} holds runs with {', '.join(other)}: give these, or another --out")
    return found["runs"]


if __name__ == "__main__":
    command(main, again="continues")
