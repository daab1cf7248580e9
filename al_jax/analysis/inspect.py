"""What a finished run has learned, beyond its accuracy.

    python -m al_jax.analysis.inspect runs/cifar10_mlp [runs/...]

writes `analysis.json` and pictures into each workdir: distances between and within classes for every layer, statistics
of the codes, the cost of every depth, accuracy against computation with early exits, and t-SNE maps of some layers.
Pictures and maps are of the first seed.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.analysis import maps, pictures
from al_jax.analysis.anytime import exits
from al_jax.analysis.distances import class_distances
from al_jax.analysis.layers import layer_outputs
from al_jax.analysis.macs import anytime_macs, inference_macs, training_macs
from al_jax.components import anytime_scores, with_prepare
from al_jax.data import DataError, Split, in_memory
from al_jax.training import load
from al_jax.training.codes import decoded_shares
from al_jax.training.config import MACHINES, Config
from al_jax.training.errors import RunError
from al_jax.training.networks import build_codes
from al_jax.training.records import read_json, write_json
from al_jax.training.run import Run, micro_batch_shapes, per_seed
from al_jax.types import ComponentState, Network

LAYER_EXAMPLES = 2000  # test images whose layers are compared; the output is compared on all of them
BATCH = 1000
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
    summary = read_json(workdir / "summary.json")
    found = []
    for components, entry in zip(
        per_seed(run, load.finished(run).components), summary.get("seeds", [summary]), strict=True
    ):
        variables = [part.variables for part in components]
        scores = _scores(network, variables, in_memory(run.held_out["test"]).image)
        found.append(_analysis(run, network, components, scores, entry.get("losses", {})))
        if len(found) == 1:
            _map(run, network, variables, scores, found[0])
            _draw(run, found[0])
    write_json(workdir / "analysis.json", {"seeds": found})
    return found


def _analysis(
    run: Run, network: Network, components: Sequence[ComponentState], scores: np.ndarray, losses: Mapping[str, float]
) -> dict[str, Any]:
    test, batch = in_memory(run.held_out["test"]), micro_batch_shapes(run.config, run.facts)
    variables = [part.variables for part in components]
    found: dict[str, Any] = {
        "distances": _distances(run.config, network, variables, test, scores[-1]),
        "macs": {"inference": inference_macs(network, batch), "training": training_macs(network, batch)},
    }
    if run.config.rule == "associated" and not run.config.leak:
        found["codes"] = code_statistics(run.config, run.facts.classes, components)
        for index, code in enumerate(found["codes"], 1):
            if f"component_{index}/associated" in losses:
                code["associated_by_variance"] = losses[f"component_{index}/associated"] / code["class_variance"]
        cost = found["macs"]["anytime"] = anytime_macs(network, batch)
        found["early_exit"] = [{**one._asdict(), "shares": list(one.shares)} for one in exits(scores, test.label, cost)]
    return found


def _map(run: Run, network: Network, variables, scores: np.ndarray, found: dict[str, Any]) -> None:
    """Maps of the layers that the paper shows, where it shows some of this kind of network."""
    if shown := SHOWN_LAYERS.get(run.config.network):
        test = in_memory(run.held_out["test"])
        chosen = maps.mapped(test.label)
        images = test.image[chosen]
        layers = {f"layer {x.number}": x.output for x in layer_outputs(network, variables, images, shown)}
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
    parts = [predict(variables, images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    return np.concatenate(jax.device_get(parts), axis=1)


def _distances(config: Config, network: Network, variables, test: Split, output: np.ndarray) -> dict[str, Any]:
    def entry(points, labels):
        found = class_distances(points, labels)
        return {**found._asdict(), "ratio": found.ratio}

    distances: dict[str, Any] = {"output": entry(output, test.label)}
    if config.rule == "backprop":
        distances["softmax"] = entry(jax.nn.softmax(output), test.label)
    images, labels = test.image[:LAYER_EXAMPLES], test.label[:LAYER_EXAMPLES]
    distances["layers"] = [
        {"number": layer.number, "kind": layer.kind, **entry(layer.output, labels)}
        for layer in layer_outputs(network, variables, images)
    ]
    return distances


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m al_jax.analysis.inspect", description="What a run has learned.")
    parser.add_argument("workdirs", type=Path, nargs="+")
    parser.add_argument("--data_dir", default="", help="where the data lies now, if it has moved")
    given = parser.parse_args()
    for workdir in given.workdirs:
        inspect(workdir, given.data_dir)
        print(f"{workdir}/analysis.json")


if __name__ == "__main__":
    try:
        main()
    except (RunError, DataError) as error:
        sys.exit(f"error: {error}")
