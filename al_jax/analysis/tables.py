"""Tables of the Associated Learning paper (arXiv 1906.05560), beside what was measured here.

    python -m al_jax.analysis.tables [RESULTS]

Cells come from the files in `results/`: mean ± standard deviation over seeds after the last epoch, with the number of
epochs, or `not run` where there is no file. The paper trains for 200 epochs. Runs of a config's `:short` variant are
marked as such: in Tables 2 to 4 they stand beside those of full length, so that arms can be compared at the same
budget, and in Table 7 they replace those that are missing or were not inspected.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

from al_jax.analysis.markdown import NOT_RUN, Runs, effort, header, row, sections, show, table
from al_jax.analysis.published import ARMS, TABLE_5, TABLE_6, TABLE_7, TABLES, name_of, with_variants
from al_jax.analysis.results import hardware_of, in_percent, numbers_of, runs_in, seeds_of, validation_of, with_spread

SHORT = " (short)"


def read_runs(results: Path, config: str) -> Runs:
    """The runs of a config, none where it was not run."""
    path = results / f"{name_of(config)}.json"
    return runs_in(path) if path.exists() else []


def runs_of(results: Path, config: str, *arm: str, inspected: bool = False) -> tuple[Runs, str]:
    """The runs of a config under an arm, else those of its `:short` variant, so marked; none where there are neither.

    With `inspected` only those that `al_jax.analysis.inspect` looked into.
    """
    full, short = read_runs(results, with_variants(config, *arm)), short_runs(results, config, *arm)
    for runs, mark in ((full, ""), (short, SHORT)):
        if inspected:
            runs = [run for run in runs if all("analysis" in entry for entry in seeds_of([run]))]
        if runs:
            return runs, mark
    return [], ""


def short_runs(results: Path, config: str, *arm: str) -> Runs:
    """The runs of its `:short` variant, which may stand on either side of the arm: the same run under two names."""
    either = (with_variants(config, *variants) for variants in (("short", *arm), (*arm, "short")))
    return next((runs for runs in (read_runs(results, own) for own in either) if runs), [])


def accuracy_table(results: Path, number: int) -> str:
    """Table 2, 3 or 4: accuracy of the paper's networks on one data set."""
    _, rows = TABLES[number]
    lines = header("network", "paper: backprop", "paper: DTP", "paper: AL", *ARMS, "DTP")
    hardware = []
    for own in rows:
        cells = []
        for config, arm in (*((own.config, arm) for arm in ARMS.values()), (own.difference, ())):
            cell, on = _accuracy(results, config, arm) if config and own.has(arm) else ("–", [])
            cells.append(cell)
            hardware.extend(on)
        lines.append(row(own.network, own.backprop, own.target_propagation, own.associated, *cells))
    return table(lines, hardware, cifar_10=number == 3)


def _accuracy(results: Path, config: str, arm: Sequence[str]) -> tuple[str, list[str]]:
    """A cell and its hardware: of the full run, or of a taller network's lower components, and of the short one."""
    full, depth, mark = read_runs(results, with_variants(config, *arm)), 0, ""
    if not full and (config, arm) == ("mnist_mlp", ()) and (taller := read_runs(results, "mnist_mlp:three")):
        full, depth, mark = taller, 2, " (the first 2 of 3 components)"
    found = [(full, depth, mark), (short_runs(results, config, *arm), 0, SHORT)]
    cells = [f"{_mean(runs, depth)}, {effort(runs)}{mark}" for runs, depth, mark in found if runs]
    return "; ".join(cells) or NOT_RUN, [hardware_of(runs) for runs, _, _ in found if runs]


def _mean(runs: Runs, depth: int = 0) -> str:
    """Accuracy by the first `depth` components, by all for 0."""
    return in_percent(entry["accuracy_by_depth"][depth - 1] for entry in seeds_of(runs))


def table_5(results: Path) -> str:
    """Associated loss of each component on MNIST's training images, a mean over the last updates.

    All rows come from runs of three: the lower components of a network train as if there were no upper ones.
    """
    lines = header("component", *(f"paper: of {count}" for count in TABLE_5), "here", "here, by the code's variance")
    runs = read_runs(results, "mnist_mlp:three")
    for index in range(3):
        published = [losses[index] if index < len(losses) else "–" for losses in TABLE_5.values()]
        seeds = seeds_of(runs)
        loss = [entry["losses"][f"component_{index + 1}/associated"] for entry in seeds if entry.get("losses")]
        codes = [entry["analysis"]["codes"][index] for entry in seeds if entry.get("analysis")]
        share = [code["associated_by_variance"] for code in codes if "associated_by_variance" in code]
        lines.append(row(index + 1, *published, _scientific(loss), _scientific(share)))
    return table([*lines, f"\nHere: {effort(runs)}."], [hardware_of(runs)]) if runs else table(lines, [])


def table_6(results: Path) -> str:
    """Test accuracy on MNIST with one, two and three components, from runs of three as in Table 5."""
    lines = header("components", "paper", "here", "seeds", "epochs", "hardware")
    runs = read_runs(results, "mnist_mlp:three")
    for components, paper in TABLE_6.items():
        cells = [NOT_RUN, "", "", ""]
        if runs:
            cells = [_mean(runs, components), numbers_of(seeds_of(runs)), str(runs[0]["epochs"]), hardware_of(runs)]
        lines.append(row(components, f"{paper} %", *cells))
    return "\n".join(lines)


def table_7(results: Path) -> str:
    """Distances between and within classes of the network's output on test images, and their ratio, each a mean."""
    lines = header("network", "paper: backprop", "paper: AL", "backprop, logits", "backprop, softmax", "AL")
    of_cifar_10, hardware = False, []
    for own in TABLE_7:
        backprop, associated = (runs_of(results, own.config, *arm, inspected=True) for arm in (("backprop",), ()))
        published = (f"{inter} / {intra} = {inter / intra:.2f}" for inter, intra in (own.backprop, own.associated))
        cells = _distance(*backprop, "output"), _distance(*backprop, "softmax"), _distance(*associated, "output")
        lines.append(row(own.network, *published, *cells))
        for runs, _ in (backprop, associated):
            if runs:
                of_cifar_10 = of_cifar_10 or runs[0]["config"].get("dataset") == "cifar10"
                hardware.append(hardware_of(runs))
    return table(lines, hardware, of_cifar_10)


def _distance(runs: Runs, mark: str, of: str) -> str:
    if not runs:
        return NOT_RUN
    found = [entry["analysis"]["distances"][of] for entry in seeds_of(runs)]
    inter, intra = (statistics.mean(entry[name] for entry in found) for name in ("inter", "intra"))
    ratios = [entry["inter"] / entry["intra"] for entry in found]
    return f"{inter:.2f} / {intra:.2f} = {with_spread(ratios)}, {effort(runs)}{mark}"


def digits(results: Path) -> str:
    """The networks of Tables 2 to 4 on embedded digits, `:smoke`: a check that all of it learns, no benchmark."""
    lines, hardware = header("network", "backprop, same network", "AL"), []
    for config, own in {
        own.config: own for _, rows in TABLES.values() for own in rows if ":" not in own.config
    }.items():
        found = [read_runs(results, with_variants(config, "smoke", *arm)) for arm in (("backprop",), ())]
        cells = [f"{_mean(runs)}, {effort(runs)}" if runs else NOT_RUN for runs in found]
        networks = [runs[0]["config"]["network"] for runs in found if runs]  # not always that of the paper
        hardware += [hardware_of(runs) for runs in found if runs]
        lines.append(row(f"{networks[0] if networks else own.network}, {config}", *cells))
    return table(lines, hardware)


def ablations(results: Path) -> str:
    """What changes one thing of a smaller run, with its costs; validation decides, where there is some."""
    lines = header("run", "validation", "test", "parameters", "of them in inference", "MACs an image", "effort")
    of_cifar_10, hardware = False, []
    for path in sorted((results / "ablations").glob("*.json")):
        runs = runs_in(path)
        seeds = seeds_of(runs)
        of_cifar_10 = of_cifar_10 or runs[0]["config"].get("dataset") == "cifar10"
        hardware.append(hardware_of(runs))
        macs = [sum(entry["analysis"]["macs"]["training"]) for entry in seeds if entry.get("analysis")]
        lines.append(
            row(
                path.stem,
                validation_of(seeds),
                in_percent(entry["test_accuracy"] for entry in seeds),
                f"{runs[0]['parameters']:,}",
                f"{runs[0]['effective_parameters']:,}",
                f"{macs[0] / 1e6:.1f} M" if macs else "–",
                effort(runs),
            )
        )
    return table(lines, hardware, of_cifar_10)


def _scientific(values: Sequence[float]) -> str:
    return with_spread(values, ".2e", ".1e") if values else NOT_RUN


def render(results: Path) -> str:
    """All tables as Markdown."""
    parts = [
        (f"Table {number}: test accuracy on {data}", accuracy_table(results, number))
        for number, (data, _) in TABLES.items()
    ]
    parts += [
        ("Table 5: associated loss of each component on MNIST, the MLP by number of components", table_5(results)),
        ("Table 6: MNIST, the MLP by number of components", table_6(results)),
        ("Table 7: distances between and within classes, and their ratio", table_7(results)),
        ("Digits: test accuracy of every network at a small width", digits(results)),
        ("Ablations", ablations(results)),
    ]
    return sections(parts)


if __name__ == "__main__":
    show(render, "tables", __doc__)
