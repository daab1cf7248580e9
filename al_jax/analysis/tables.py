"""Tables of the Associated Learning paper (arXiv 1906.05560), beside what was measured here.

    python -m al_jax.analysis.tables [RESULTS]

Cells come from the files in `results/` and say `not run` where there is none.
"""

import argparse
from pathlib import Path

from al_jax.analysis.results import hardware_of, in_percent, numbers_of, seeds_of
from al_jax.training.records import read_json

TABLE_6 = {1: "98.49 %", 2: "98.60 %", 3: "98.71 %"}  # the paper's test accuracy by number of components


def table_6(results: Path) -> str:
    """Test accuracy on MNIST with one, two and three components.

    All rows come from runs of three: the lower components of a network train as if there were no upper ones, so the
    network of k components is the first k of a taller one, and its accuracy is that by depth k.
    """
    rows = [
        "| components | paper | here | seeds | epochs | hardware |",
        "|---|---|---|---|---|---|",
    ]
    path = results / "mnist_mlp_three.json"
    runs = read_json(path)["runs"] if path.exists() else []
    seeds = seeds_of(runs)
    for components, paper in TABLE_6.items():
        cells = ["not run", "", "", ""]
        if runs:
            here = in_percent(entry["accuracy_by_depth"][components - 1] for entry in seeds)
            cells = [here, numbers_of(seeds), str(runs[0]["epochs"]), hardware_of(runs)]
        rows.append(f"| {components} | {paper} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m al_jax.analysis.tables", description="Tables of the paper.")
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"))
    print(f"Table 6: MNIST, the MLP by number of components\n\n{table_6(parser.parse_args().results)}")


if __name__ == "__main__":
    main()
