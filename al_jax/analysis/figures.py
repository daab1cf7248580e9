"""The figures of the Associated Learning paper's analysis, from what was measured here.

    python -m al_jax.analysis.figures [RESULTS] [--out DIR]

draws every figure whose runs are in the results, and says which are not. For each network of the paper: accuracy,
losses and codes by depth, early exits, and distances between and within classes under both rules; for networks of 2 to
64 components, accuracy and gradients. Where the full run was not inspected its `:short` variant is drawn, and the title
says `(short)`. For networks of the kinds in the paper's Figures 5 and 6 it draws the same maps of layers by t-SNE, for
each rule from the longest run that has some; if that is the one on embedded digits, the title says `(smoke)`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from al_jax.analysis import depth, maps, pictures
from al_jax.analysis.options import parser_of
from al_jax.analysis.published import TABLES, name_of, with_variants
from al_jax.analysis.results import seeds_of
from al_jax.analysis.tables import read_runs, runs_of
from al_jax.training.command_line import command
from al_jax.training.records import read_json

# Networks of the paper, and whose `:backprop` stands beside them. MNIST's is the one of Table 5.
PAIRS = {"mnist_mlp:three": "mnist_mlp", **{row.config: row.config for _, rows in TABLES.values() for row in rows}}
# Networks of which the paper maps some of this kind. MNIST's MLP has two components here, whose layers are the paper's.
MAPPED = ("mnist_mlp", "mnist_cnn", "cifar_mlp", "cifar_cnn")


def figures(results: Path) -> tuple[dict[str, Callable[[], Figure]], list[str]]:
    """How to draw each figure, by its name; and what was not run."""
    found: dict[str, Callable[[], Figure]] = {}
    missing = []
    for config, other in PAIRS.items():
        name, of_backprop = name_of(config), name_of(with_variants(other, "backprop"))
        associated, short = runs_of(results, config, inspected=True)
        backprop, also_short = runs_of(results, other, "backprop", inspected=True)
        missing += [arm for arm, runs in ((name, associated), (of_backprop, backprop)) if not runs]
        if associated:
            seeds, title = seeds_of(associated), f"{name}{short}"
            found[f"by_depth_{name}"] = partial(titled, title, pictures.by_depth, seeds)
            found[f"early_exit_{name}"] = partial(titled, title, early_exits, seeds[0])
        if associated and backprop:
            both = {
                f"Associated Learning{short}": seeds_of(associated),
                f"backpropagation{also_short}": seeds_of(backprop),
            }
            found[f"distances_{name}"] = partial(titled, name, pictures.distances, both)
    for config in MAPPED:
        for arm in ((), ("backprop",)):
            name = name_of(with_variants(config, *arm))
            of, points = _maps(results, config, arm)
            if points:
                found[f"maps_{name}"] = partial(titled, f"{name}{of}", maps.draw, points)
            else:
                missing.append(f"maps_{name}")
    if (path := results / "depth.json").exists():
        found["depth"] = partial(depth.draw, read_json(path, "runs")["runs"])
    else:
        missing.append("depth")
    return found, list(dict.fromkeys(missing))


def _maps(results: Path, config: str, arm: Sequence[str]) -> tuple[str, Mapping[str, Any] | None]:
    """The maps of the first seed that has some, of the longest runs with one, and how that is marked."""
    for length, mark in (((), ""), (("short",), " (short)"), (("smoke",), " (smoke)")):
        for entry in seeds_of(read_runs(results, with_variants(config, *length, *arm))):
            if points := entry.get("analysis", {}).get("tsne"):
                return mark, points
    return "", None


def titled(title: str, draw: Callable[..., Figure], *given: Any) -> Figure:
    """A figure with the name of what was run above it."""
    figure = draw(*given)
    figure.suptitle(title)
    return figure


def early_exits(entry: Mapping[str, Any]) -> Figure:
    """Accuracy against cost, of one seed."""
    analysis = entry["analysis"]
    return pictures.exits(analysis["early_exit"], (analysis["macs"]["inference"][-1], entry["test_accuracy"]))


def main() -> None:
    parser = parser_of("figures", __doc__)
    folder = "folder of the results' files; results by default"
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"), help=folder)
    out = Path("runs/figures")
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help=f"where the pictures go; {out} by default")
    given = parser.parse_args()
    if not given.results.is_dir():
        parser.error(f"there is no folder {given.results}")
    found, missing = figures(given.results)
    if not found:
        parser.error(f"{given.results} has no run to draw: python -m al_jax.analysis.cells makes some")
    given.out.mkdir(parents=True, exist_ok=True)
    for name, draw in found.items():
        draw().savefig(given.out / f"{name}.png", dpi=140)
        print(given.out / f"{name}.png")
    print(f"not run: {', '.join(missing) or 'none'}")


if __name__ == "__main__":
    command(main)
