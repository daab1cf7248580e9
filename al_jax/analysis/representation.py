"""What the blocks of finished runs represent, one run beside the other.

    python -m al_jax.analysis.representation RUN [RUN ...] [--out DIR] [--data_dir DIR]

writes `representation.json` and pictures into DIR, by default the first workdir: for every run the test accuracy of a
linear probe on each block and the linear CKA of its blocks with those of the first run, on test images; and maps of the
features of convolutions. A block is what one component has of the backbone. A network trained end to end as a single
component has one block; it is looked into at the cuts of the first run that cuts the same layers. Of several seeds the
first is taken.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from al_jax.analysis import pictures
from al_jax.analysis.blocks import Outputs, block_outputs, in_batches
from al_jax.analysis.cka import linear_cka
from al_jax.analysis.options import parser_of
from al_jax.analysis.probes import probe_accuracies
from al_jax.components import with_prepare
from al_jax.data import Split, in_memory
from al_jax.data.order import permutation
from al_jax.training import load
from al_jax.training.command_line import command
from al_jax.training.config import MACHINES
from al_jax.training.errors import RunError
from al_jax.training.networks import build_blocks
from al_jax.training.records import write_json
from al_jax.training.run import Run, per_seed
from al_jax.types import Variables

CKA_IMAGES = 5000  # of the test images at most
CKA_BATCH = 250
SHOWN_IMAGES = 5


class Trained(NamedTuple):
    """A finished run, the variables of its first seed, and what its blocks make of them and of uint8 images."""

    name: str
    run: Run
    variables: Sequence[Variables]
    outputs: Outputs


def represent(workdirs: Sequence[Path], out: Path, data_dir: str = "") -> dict[str, Any]:
    """Measures the blocks of finished runs and leaves numbers and pictures in `out`.

    Raises:
      RunError: there is no finished run, one is of a learning machine, or two are of different data sets.
    """
    workdirs = list(dict.fromkeys(workdirs))
    loaded = [load.load_run(workdir, data_dir) for workdir in workdirs]
    if machines := [run.workdir for run in loaded if run.config.rule in MACHINES]:
        raise RunError(f"{machines[0]} is of a learning machine, which has no blocks to compare: leave it out")
    runs = [_read(run, name, _cuts(run, loaded)) for run, name in zip(loaded, _names(workdirs), strict=True)]
    reference = runs[0]
    out.mkdir(parents=True, exist_ok=True)  # what cannot be written is said before anything is measured
    for other in runs[1:]:
        if (own := other.run.config.dataset) != (first := reference.run.config.dataset):
            raise RunError(f"{reference.name} was trained on {first}, but {other.name} on {own}: compare runs of one")
    entries = [_measure(trained, reference) for trained in runs]
    found = {"reference": reference.name, "runs": entries}
    write_json(out / "representation.json", found)
    _draw(entries, out)
    for trained in runs:
        _draw_features(trained, out)
    return found


def _names(workdirs: Sequence[Path]) -> list[str]:
    """The names of their folders, or paths where two have the same."""
    times = Counter(workdir.name for workdir in workdirs)
    return [workdir.name if times[workdir.name] == 1 else str(workdir) for workdir in workdirs]


def _read(run: Run, name: str, cuts: Sequence[int] | None) -> Trained:
    components = per_seed(run, load.finished(run).components)[0]
    outputs = block_outputs(with_prepare(run.network, run.prepare), cuts)
    return Trained(name, run, [part.variables for part in components], outputs)


def _cuts(run: Run, runs: Sequence[Run]) -> Sequence[int] | None:
    """Where to look into a network of one block: where the first of the runs cuts as many layers into several."""
    own, *rest = _layers(run)
    cuts = [layers for layers in map(_layers, runs) if len(layers) > 1 and sum(layers) == own]
    return cuts[0] if cuts and not rest else None


def _layers(run: Run) -> list[int]:
    """How many layers each of its blocks has."""
    return [len(getattr(block, "layers", [block])) for block in build_blocks(run.config, run.facts.image)]


def _measure(trained: Trained, reference: Trained) -> dict[str, Any]:
    run = trained.run
    return {
        "name": trained.name,
        "rule": run.config.rule,
        "seed": run.config.seed,
        "probes": probe_accuracies(trained.outputs, trained.variables, *_splits(run)),
        "cka": cka_of(reference, trained).tolist(),
    }


def _splits(run: Run) -> tuple[Split, Split]:
    return in_memory(run.dataset.train), in_memory(run.dataset.test)


def cka_of(left: Trained, right: Trained) -> np.ndarray:
    """CKA of the blocks of two runs, `(blocks of left, blocks of right)`, in batches of equal size."""
    _, test = _splits(left.run)
    images = test.image
    images = images[permutation(len(images), seed=0)][:CKA_IMAGES]
    size = len(images) // -(-len(images) // CKA_BATCH)
    whole = images[: len(images) // size * size]
    return linear_cka(zip(_outputs(left, whole, size), _outputs(right, whole, size), strict=True))


def _outputs(trained: Trained, images: np.ndarray, size: int) -> Iterator[Sequence[jax.Array]]:
    compute = jax.jit(trained.outputs)
    return (compute(list(trained.variables), batch) for batch in in_batches(images, size))


def _draw(entries: Sequence[dict[str, Any]], out: Path) -> None:
    reference = entries[0]["name"]
    pictures.probes({entry["name"]: entry["probes"] for entry in entries}).savefig(out / "probes.png", dpi=140)
    maps = {entry["name"]: np.asarray(entry["cka"]) for entry in entries}
    pictures.cka(maps, reference).savefig(out / "cka.png", dpi=140)
    # Only where blocks correspond one to one is there a CKA of the same block.
    others = {name: cka for name, cka in maps.items() if name != reference and cka.shape[0] == cka.shape[1]}
    if others:
        same = {name: np.diag(cka).tolist() for name, cka in others.items()}
        pictures.cka_by_block(same, reference).savefig(out / "cka_by_block.png", dpi=140)


def _draw_features(trained: Trained, out: Path) -> None:
    _, test = _splits(trained.run)
    images = test.image[:SHOWN_IMAGES]
    (outputs,) = jax.device_get(list(_outputs(trained, images, SHOWN_IMAGES)))
    if any(output.ndim == 4 for output in outputs):
        name = trained.name.replace("/", "_")
        pictures.feature_maps(images, outputs).savefig(out / f"features_{name}.png", dpi=140)


def main() -> None:
    parser = parser_of("representation", __doc__)
    parser.add_argument("workdirs", type=Path, nargs="+", metavar="RUN", help="folders of finished runs")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where all of it goes; the first run by default")
    parser.add_argument("--data_dir", default="", metavar="DIR", help="where the data lies now, if it has moved")
    given = parser.parse_args()
    out = given.out or given.workdirs[0]
    with Console().status(f"comparing {', '.join(map(str, given.workdirs))}"):  # on a terminal
        represent(given.workdirs, out, given.data_dir)
    print(f"{out}/representation.json")


if __name__ == "__main__":
    command(main)
