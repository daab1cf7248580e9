"""Tables of the Momentum Auxiliary Network's paper, beside what was measured here: test errors in per cent, and memory.

    python -m al_jax.analysis.local_tables [RESULTS]

Errors are means over seeds after the last epoch; where a config was not run at its full length, its `:short` variant
stands in its place, with its epochs and images.
"""

from collections.abc import Mapping
from pathlib import Path

from al_jax.analysis.markdown import NOT_RUN, effort, header, row, sections, show, table
from al_jax.analysis.published_local import (
    MAN_CUTS,
    MAN_INFOPRO,
    NETWORKS,
    RULES,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_4_IMAGENET,
    Arm,
)
from al_jax.analysis.results import hardware_of, seeds_of, with_spread
from al_jax.analysis.tables import runs_of
from al_jax.training.records import read_json

CONFIG, IMAGENET = "local_learning", "imagenet"


def table_1(results: Path, data: str) -> str:
    """Every rule with and without momentum, and end to end, on one data set.

    Where MAN's code cuts a network otherwise, a second row has that partition; a last one has InfoPro as it is there.
    """
    variant, end_to_end, rules = TABLE_1[data]
    lines = header("rule", "network", "paper", "paper, MAN", "here", "here, MAN")
    hardware: list[str] = []

    def measured(*variants: str) -> list[str]:
        return [_error(results, hardware, variant, *variants, *momentum) for momentum in ((), ("man",))]

    for index, (network, cuts) in enumerate(NETWORKS.items()):
        if index % 2 == 0:  # the same network as of the next row
            plain = [own for own in ("resnet110",) if own in cuts]
            cell = _error(results, hardware, variant, *plain, "backprop")
            lines.append(row("end to end", network.split(",")[0], f"{end_to_end[index // 2]:.2f}", "", cell, ""))
        for rule, own in RULES.items():
            paper = rules[rule].without[index], rules[rule].momentum[index]
            lines.append(row(rule, network, *(f"{error:.2f}" for error in paper), *measured(cuts, own)))
            if network in MAN_CUTS:
                name = f"{network}, MAN's {MAN_CUTS[network]} components"
                lines.append(row(rule, name, "", "", *measured(cuts, own, "man_cuts")))
        lines.append(row("InfoPro as in MAN's code", network, "", "", *measured(cuts, MAN_INFOPRO)))
    return table(lines, hardware, cifar_10=data == "CIFAR-10")


def table_2(results: Path) -> str:
    """InfoPro with and without momentum on ImageNet, DGL on VGG13: errors of the first and of the first five scores."""
    lines = header("network", "InfoPro, on VGG13 DGL", "paper", "here")
    hardware: list[str] = []
    for network, arms in TABLE_2.items():
        lines += [row(network, *cells) for cells in _on_imagenet(results, hardware, arms)]
    return table(lines, hardware)


def table_3(results: Path) -> str:
    """Memory on ImageNet: a GPU's in the paper, here as compiled ahead of time for a CPU."""
    path = results / "benchmarks" / "memory.json"
    found = read_json(path, "networks")["networks"] if path.exists() else {}
    lines = header("network", "arm", "paper", "here, of one update ahead of time")
    for network, arms in TABLE_3.items():
        for name, gigabytes in arms.items():
            arm = found.get(network, {}).get("arms", {}).get(name)
            here = f"{(arm['arguments'] + arm['temporaries']) / 1e9:.2f} GB" if arm else NOT_RUN
            lines.append(row(network, name, f"{gigabytes:.2f} GB", here))
    return "\n".join(lines)


def table_4(results: Path) -> str:
    """What of the momentum auxiliary network matters, with controls that its paper does not have."""
    lines = header("DGL, ResNet-32, K = 16, CIFAR-10", "paper", "here")
    hardware: list[str] = []
    for name, (variant, published) in TABLE_4.items():
        paper = "–" if published is None else f"{published:.2f}"
        lines.append(row(name, paper, _error(results, hardware, variant)))
    return table(lines, hardware, cifar_10=True)


def table_4_imagenet(results: Path) -> str:
    """The same on ImageNet: errors of the first and of the first five scores."""
    lines = header("InfoPro, ResNet-101, K = 4, ImageNet", "paper", "here")
    hardware: list[str] = []
    lines += [row(*cells) for cells in _on_imagenet(results, hardware, TABLE_4_IMAGENET)]
    return table(lines, hardware)


def digits(results: Path) -> str:
    """Every rule on embedded digits with a small residual network: a check that all of it learns, no benchmark."""
    lines = header("rule", "here", "here, MAN", "average alone", "bias alone", "two trained branches")
    hardware: list[str] = []
    arms = ((), ("man",), ("average_only",), ("bias_only",), ("two_branches",))
    lines.append(row("end to end", _error(results, hardware, "smoke", "backprop"), *[""] * 4))
    for rule, own in RULES.items():
        lines.append(row(rule, *(_error(results, hardware, "smoke", own, *arm) for arm in arms)))
    return table(lines, hardware)


def _on_imagenet(results: Path, hardware: list[str], arms: Mapping[str, Arm]) -> list[tuple[str, str, str]]:
    """Name, the paper's errors and ours of each arm."""
    kinds = ("test_accuracy", "test_top5_accuracy")
    ours = (_error(results, hardware, arm.variant, config=IMAGENET, kinds=kinds) for arm in arms.values())
    return [
        (name, f"{arm.top1:.2f} / {arm.top5:.2f}", own) for (name, arm), own in zip(arms.items(), ours, strict=True)
    ]


def _error(
    results: Path,
    hardware: list[str],
    *variants: str,
    config: str = CONFIG,
    kinds: tuple[str, ...] = ("test_accuracy",),
) -> str:
    runs, _ = runs_of(results, config, *filter(None, variants))
    if not runs:
        return NOT_RUN
    hardware.append(hardware_of(runs))
    errors = (with_spread(100 * (1 - entry[kind]) for entry in seeds_of(runs)) for kind in kinds)
    return f"{' / '.join(errors)}, {effort(runs)}"


def render(results: Path) -> str:
    """All of them as Markdown."""
    parts = [
        *((f"MAN, Table 1: test error on {data}", table_1(results, data)) for data in TABLE_1),
        ("MAN, Table 2: test error on ImageNet, top-1 / top-5", table_2(results)),
        ("MAN, Table 3: memory on ImageNet", table_3(results)),
        ("MAN, Tables 4 and 5: ablations on CIFAR-10, and controls", table_4(results)),
        ("MAN, Tables 4 and 5: ablations on ImageNet, top-1 / top-5", table_4_imagenet(results)),
        ("Digits: test error", digits(results)),
    ]
    return sections(parts)


if __name__ == "__main__":
    show(render, "local_tables", __doc__)
