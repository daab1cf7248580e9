"""Tables of the Momentum Auxiliary Network's paper, beside what was measured here: test errors in per cent.

    python -m al_jax.analysis.local_tables [RESULTS]

Cells are means over seeds after the last epoch; where a config was not run at its full length, its `:short` variant
stands in its place, with its epochs and images.
"""

import statistics
from pathlib import Path

from al_jax.analysis.markdown import NOT_RUN, cifar_10_note, effort, header, measured_on, row, show
from al_jax.analysis.published import with_variants
from al_jax.analysis.published_local import NETWORKS, RULES, TABLE_1, TABLE_4
from al_jax.analysis.results import hardware_of, seeds_of
from al_jax.analysis.tables import either

CONFIG = "local_learning"


def table_1(results: Path, data: str) -> str:
    """Every rule with and without momentum, and end to end, on one data set."""
    variant, end_to_end, rules = TABLE_1[data]
    lines = header("rule", "network", "paper", "paper, MAN", "here", "here, MAN")
    hardware: list[str] = []
    for index, (network, cuts) in enumerate(NETWORKS.items()):
        if index % 2 == 0:  # the same network as of the next row
            plain = [own for own in ("resnet110",) if own in cuts]
            cell = _error(results, hardware, variant, *plain, "backprop")
            lines.append(row("end to end", network.split(",")[0], f"{end_to_end[index // 2]:.2f}", "", cell, ""))
        for rule, own in RULES.items():
            published = rules[rule]
            cells = [_error(results, hardware, variant, cuts, own, *momentum) for momentum in ((), ("man",))]
            lines.append(
                row(rule, network, f"{published.without[index]:.2f}", f"{published.momentum[index]:.2f}", *cells)
            )
    return "\n".join([*lines, *measured_on(hardware), *cifar_10_note(data == "CIFAR-10" and bool(hardware))])


def table_4(results: Path) -> str:
    """What of the momentum auxiliary network matters, with controls that its paper does not have."""
    lines = header("DGL, ResNet-32, K = 16, CIFAR-10", "paper", "here")
    hardware: list[str] = []
    for name, (variant, published) in TABLE_4.items():
        paper = "–" if published is None else f"{published:.2f}"
        lines.append(row(name, paper, _error(results, hardware, variant)))
    return "\n".join([*lines, *measured_on(hardware), *cifar_10_note(bool(hardware))])


def digits(results: Path) -> str:
    """Every rule on embedded digits with a small residual network: a check that all of it learns, no benchmark."""
    lines = header("rule", "here", "here, MAN", "average alone", "bias alone", "two trained branches")
    hardware: list[str] = []
    arms = ((), ("man",), ("average_only",), ("bias_only",), ("two_branches",))
    lines.append(row("end to end", _error(results, hardware, "smoke", "backprop"), *[""] * 4))
    for rule, own in RULES.items():
        lines.append(row(rule, *(_error(results, hardware, "smoke", own, *arm) for arm in arms)))
    return "\n".join([*lines, *measured_on(hardware)])


def _error(results: Path, hardware: list[str], *variants: str) -> str:
    runs = either(results, with_variants(CONFIG, *filter(None, variants)))
    if not runs:
        return NOT_RUN
    hardware.append(hardware_of(runs))
    errors = [100 * (1 - entry["test_accuracy"]) for entry in seeds_of(runs)]
    spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    return f"{statistics.mean(errors):.2f}{spread}, {effort(runs)}"


def render(results: Path) -> str:
    """All of them as Markdown."""
    parts = [(f"MAN, Table 1: test error on {data}", table_1(results, data)) for data in TABLE_1]
    parts.append(("MAN, Table 4: ablations, and controls", table_4(results)))
    parts.append(("Digits: test error", digits(results)))
    return "\n\n".join(f"## {title}\n\n{table}" for title, table in parts)


if __name__ == "__main__":
    show(render, "local_tables", "Tables of MAN.")
