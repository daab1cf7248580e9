"""What a finished run has learned, beyond its accuracy.

    python -m al_jax.analysis.inspect runs/cifar10_mlp [runs/...]

writes `analysis.json` and pictures into each workdir: distances between and within classes for every layer, statistics
of the codes, the cost of every depth, accuracy against computation with early exits, and t-SNE maps of some layers.
Pictures and maps are of the first seed. For images that stay on disk it writes only the costs and the codes, which need
no images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from al_jax.analysis import maps, pictures
from al_jax.analysis.anytime import exits
from al_jax.analysis.blocks import in_batches
from al_jax.analysis.distances import Distances, class_distances, layer_distances
from al_jax.analysis.layers import layer_outputs
from al_jax.analysis.macs import anytime_macs, inference_macs, training_macs
from al_jax.analysis.options import parser_of
from al_jax.components import anytime_scores, with_prepare
from al_jax.data import Split
from al_jax.training import load
from al_jax.training.codes import decoded_shares
from al_jax.training.command_line import command
from al_jax.training.config import MACHINES, Config
from al_jax.training.digest import digest
from al_jax.training.errors import RunError
from al_jax.training.networks import build_codes
from al_jax.training.records import read_json, write_json
from al_jax.training.run import Run, micro_batch_shapes, per_seed
from al_jax.types import ComponentState, Network

LAYER_EXAMPLES = 2000  # test images whose layers are compared; the output is compared on all of them
BATCH = 1000
LEFT_OUT = "distances, early exits and pictures, since the test images stay on disk"
SHOWN_LAYERS = {"mlp": (2, 4), "vanilla_cnn": (4, 8, 12)}  # as in the paper's Figures 5 and 6


def inspect(workdir: Path, data_dir: str = "") -> list[dict[str, Any]]:
    """Measures a finished run, each seed of it, and leaves analysis.json and pictures of the first seed in its workdir.

    Raises:
      RunError: there is no finished run.
    """
    run = load.load_run(workdir, data_dir)
    if run.config.rule in MACHINES:
        raise RunError(
            f"{workdir} is a run of a learning machine, which has no components to inspect: set config.diagnose"
        )
    network = with_prepare(run.network, run.prepare)
    seeds = per_seed(run, load.finished(run).components)
    summary, test = read_json(workdir / "summary.json"), run.held_out["test"]
    found = []
    for components, entry in zip(seeds, summary.get("seeds", [summary]), strict=True):
        analysis: dict[str, Any] = {"digest": digest(components)}  # of what it is an analysis
        analysis |= _without_images(run, network, components, entry.get("losses", {}))
        if isinstance(test, Split):
            variables = [part.variables for part in components]
            scores = _scores(network, variables, test.image)
            analysis |= _of_images(run.config, network, variables, test, scores, analysis["macs"])
            if not found:
                _map(run, network, variables, test, scores, analysis)
                _draw(run, analysis)
        else:
            analysis["left_out"] = LEFT_OUT
        found.append(analysis)
    write_json(workdir / "analysis.json", {"seeds": found})
    return found


def _without_images(
    run: Run, network: Network, components: Sequence[ComponentState], losses: Mapping[str, float]
) -> dict[str, Any]:
    batch = micro_batch_shapes(run.config, run.facts)
    found: dict[str, Any] = {
        "macs": {"inference": inference_macs(network, batch), "training": training_macs(network, batch)}
    }
    if _has_codes(run.config):
        found["codes"] = code_statistics(run.config, run.facts.classes, components)
        for index, code in enumerate(found["codes"], 1):
            if run.config.associated_loss == "squares" and f"component_{index}/associated" in losses:
                code["associated_by_variance"] = losses[f"component_{index}/associated"] / code["class_variance"]
        found["macs"]["anytime"] = anytime_macs(network, batch)
    return found


def _of_images(
    config: Config, network: Network, variables, test: Split, scores: np.ndarray, cost: Mapping[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {"distances": _distances(config, network, variables, test, scores[-1])}
    if _has_codes(config):
        early = exits(scores, test.label, cost["anytime"])
        found["early_exit"] = [{**one._asdict(), "shares": list(one.shares)} for one in early]
    return found


def _has_codes(config: Config) -> bool:
    return config.rule == "associated" and not config.leak


def _map(run: Run, network: Network, variables, test: Split, scores: np.ndarray, found: dict[str, Any]) -> None:
    """Maps of the layers that the paper shows, where it shows some of this kind of network."""
    if shown := SHOWN_LAYERS.get(run.config.network):
        chosen = maps.mapped(test.label)
        images = test.image[chosen]
        layers = {f"layer {place.number}": x for place, x in layer_outputs(network, variables, images, shown).items()}
        points = {"input": images / 255.0, **layers, "output": scores[-1][chosen]}
        found["tsne"] = maps.place(points, test.label[chosen])


def _draw(run: Run, found: Mapping[str, Any]) -> None:
    if "early_exit" in found:
        full = found["macs"]["inference"][-1], found["early_exit"][-1]["accuracy"]
        pictures.exits(found["early_exit"], full).savefig(run.workdir / "early_exit.png", dpi=140)
    if "tsne" in found:
        maps.draw(found["tsne"]).savefig(run.workdir / "tsne.png", dpi=140)


def code_statistics(config: Config, classes: int, components: Sequence[ComponentState]) -> list[dict[str, float]]:
    """For every component: how far the codes of classes lie apart, and whether they decode to their class.

    `class_variance` is the variance over classes, averaged over units; `decoded` the share of classes that
    h_1 ∘ … ∘ h_k makes of t_k.
    """
    chain, labels = build_codes(config, classes), jnp.arange(classes)
    variables = [{"params": {part: own.params[part] for part in "gh"}} for own in components]
    signal: Any = {"label": labels}
    found = []
    for part, own, decoded in zip(chain.components, variables, decoded_shares(chain, variables, classes), strict=True):
        signal, _, _ = part.apply(own, signal, jax.random.key(0), False)
        variance = jnp.asarray(signal, jnp.float32).var(0).mean()
        found.append({"class_variance": float(variance), "decoded": decoded})
    return found


def _scores(network: Network, variables, images: np.ndarray) -> np.ndarray:
    """Of every depth, `(K, N, classes)`."""
    predict = jax.jit(lambda variables, images: anytime_scores(network, variables, images))
    parts = [predict(variables, batch) for batch in in_batches(images, BATCH)]
    return np.concatenate(jax.device_get(parts), axis=1)


def _distances(config: Config, network: Network, variables, test: Split, output: np.ndarray) -> dict[str, Any]:
    def entry(found: Distances) -> dict[str, float]:
        return {**found._asdict(), "ratio": found.ratio}

    distances: dict[str, Any] = {"output": entry(class_distances(output, test.label))}
    if config.rule == "backprop":
        distances["softmax"] = entry(class_distances(np.asarray(jax.nn.softmax(output)), test.label))
    images, labels = test.image[:LAYER_EXAMPLES], test.label[:LAYER_EXAMPLES]
    distances["layers"] = [
        {**place._asdict(), **entry(found)}
        for place, found in layer_distances(network, variables, images, labels).items()
    ]
    return distances


def main() -> None:
    parser = parser_of("inspect", __doc__)
    parser.add_argument("workdirs", type=Path, nargs="+", metavar="RUN", help="folders of finished runs")
    parser.add_argument("--data_dir", default="", metavar="DIR", help="where the data lies now, if it has moved")
    given = parser.parse_args()
    for workdir in given.workdirs:
        with Console().status(f"inspecting {workdir}"):  # on a terminal
            first, *_ = inspect(workdir, given.data_dir)
        left_out = f", without {first['left_out']}" if "left_out" in first else ""
        print(f"{workdir}/analysis.json{left_out}")


if __name__ == "__main__":
    command(main)
