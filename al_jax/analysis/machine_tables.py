"""Tables of learning machines, beside what was measured here: test accuracies in per cent.

    python -m al_jax.analysis.machine_tables [RESULTS]

Cells are means over seeds after the last epoch; where a config was not run at its full length, its `:short` variant
stands in its place, with its epochs and images.
"""

from pathlib import Path

from al_jax.analysis.markdown import NOT_RUN, effort, header, row, sections, show, table
from al_jax.analysis.published import with_variants
from al_jax.analysis.results import hardware_of, in_percent, seeds_of
from al_jax.analysis.tables import runs_of

CONFIG = "machines"

# Zenkai (Short 2023, arXiv 2311.09663), Table 1: one run each.
TABLE_1 = {
    "baseline": ("Baseline", "96.9"),
    "decision_linear": ("Decision-Linear", "96.7"),
    "least_squares": ("Least squares", "94.1"),
    "target_propagation": ("Linear target propagation", "92.9"),
    "feedback_alignment": ("Feedback alignment", "95.8"),
    "local_classifier": ("Local classifier, there called DFA", "94.0"),
    "direct_feedback_alignment": ("Direct feedback alignment", "–"),
    "neural_decision": ("Neural decision", "93.9"),
}

# What our runs have otherwise than its appendix says, beside epochs, batches and rates.
DIFFERS = {
    "decision_linear": "the newest trees make good what the others miss, where all of the paper's learn one target",
    "target_propagation": "batch norm, noise where inverses learn, a first step of 10; tuned with noise on the images",
    "feedback_alignment": "tuned has three layers, as the paper's prose says; its list, and the run here, two",
    "neural_decision": "noise on what the features put out in place of dropout",
}

# Difference target propagation: Lee et al. (2015), and the baseline of the Associated Learning paper.
DIFFERENCE = {
    "dtp": ("MNIST, 7 x 240 tanh", "about 98.1"),
    "dtp_mnist": ("MNIST, MLP of Associated Learning", "96.43"),
    "dtp_cifar": ("CIFAR-10, MLP of Associated Learning", "58.2"),
}

# biotorch's best of 250 epochs on CIFAR-10 with Adam, as test accuracies.
LENET = {
    "baseline": ("Backpropagation", "84.08"),
    "feedback_alignment": ("Feedback alignment", "59.33"),
    "direct_feedback_alignment": ("Direct feedback alignment", "62.41"),
}
OTHER_LENET = (
    "\nbiotorch's network is another: convolutions of 32, 64 and 128 channels and 256 units, no batch norm; here they "
    "have 6 and 16 channels, 120 and 84 units, and batch norm."
)


def table_1(results: Path) -> str:
    """Zenkai's seven experiments on MNIST, and better tuned ones, with what differs from the paper."""
    lines, hardware = header("experiment", "published", "here", "here, tuned"), []
    for name, (title, published) in TABLE_1.items():
        cells = [_accuracy(results, hardware, name, *arm) for arm in ((), ("tuned",))]
        lines.append(row(f"{title} (`{name}`)", published, *cells))
    notes = [f"- `{name}`: {what}" for name, what in DIFFERS.items()]
    return table([*lines, "\nOtherwise than in the paper:\n", *notes], hardware)


def difference(results: Path) -> str:
    """Difference target propagation on fully connected networks."""
    lines, hardware = header("network", "published", "here"), []
    for name, (title, published) in DIFFERENCE.items():
        lines.append(row(f"{title} (`{name}`)", published, _accuracy(results, hardware, name)))
    of_cifar_10 = bool(runs_of(results, f"{CONFIG}:dtp_cifar")[0])
    return table(lines, hardware, of_cifar_10)


def lenet(results: Path) -> str:
    """Feedback alignment on a network of convolutions."""
    lines, hardware = header("LeNet, CIFAR-10", "biotorch, best epoch", "here"), []
    for name, (title, published) in LENET.items():
        lines.append(row(title, published, _accuracy(results, hardware, name, "lenet")))
    return table([*lines, OTHER_LENET], hardware, cifar_10=True)


def _accuracy(results: Path, hardware: list[str], *variants: str) -> str:
    runs, _ = runs_of(results, with_variants(CONFIG, *variants))
    if not runs:
        return NOT_RUN
    hardware.append(hardware_of(runs))
    return f"{in_percent(entry['test_accuracy'] for entry in seeds_of(runs))}, {effort(runs)}"


def render(results: Path) -> str:
    """All of them as Markdown."""
    parts = [
        ("Zenkai, Table 1: MNIST", table_1(results)),
        ("Difference target propagation", difference(results)),
        ("Feedback alignment of a LeNet", lenet(results)),
    ]
    return sections(parts)


if __name__ == "__main__":
    show(render, "machine_tables", __doc__)
