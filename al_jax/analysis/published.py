"""The numbers of the Associated Learning paper (arXiv 1906.05560), and which result here stands beside which."""

from collections.abc import Sequence
from typing import NamedTuple

from al_jax.training.config import names_of_variant

USUAL = ("usual_backprop",)


class Row(NamedTuple):
    """One row of Tables 2 to 4: test accuracies in per cent, and the config that is compared with them.

    `config` is a spec as train.py takes it, without an arm: `cifar_cnn:cifar100`.
    """

    network: str
    backprop: str
    associated: str
    config: str
    target_propagation: str = "–"
    difference: str = ""  # the config of difference target propagation
    usual: bool = False  # whether backprop has a network without the dense layers of Associated Learning's, too

    def has(self, arm: Sequence[str]) -> bool:
        """Whether its config has the variants of an arm."""
        return self.usual or tuple(arm) != USUAL


TABLES = {
    2: (
        "MNIST",
        (
            Row("MLP", "98.5 ± 0.0", "98.6 ± 0.0", "mnist_mlp", "96.43 ± 0.04", "machines:dtp_mnist"),
            Row("Vanilla CNN", "99.4 ± 0.0", "99.5 ± 0.0", "mnist_cnn"),
        ),
    ),
    3: (
        "CIFAR-10",
        (
            Row("MLP", "60.6 ± 0.3", "62.8 ± 0.2", "cifar_mlp", "58.2 ± 0.2", "machines:dtp_cifar"),
            Row("Vanilla CNN", "85.2 ± 0.4", "85.8 ± 0.1", "cifar_cnn"),
            Row("ResNet-20", "91.2 ± 0.4", "89.1 ± 0.5", "cifar_resnet", usual=True),
            Row("ResNet-32", "92.0 ± 0.2", "88.7 ± 0.4", "cifar_resnet:resnet32", usual=True),
            Row("VGG", "92.3 ± 0.2", "92.6 ± 0.1", "cifar_vgg"),
        ),
    ),
    4: (
        "CIFAR-100",
        (
            Row("MLP", "26.5 ± 0.4", "29.7 ± 0.2", "cifar_mlp:cifar100"),
            Row("Vanilla CNN", "51.1 ± 0.2", "52.2 ± 0.5", "cifar_cnn:cifar100"),
            Row("ResNet-20", "63.7 ± 0.2", "61.0 ± 0.6", "cifar_resnet:cifar100", usual=True),
            Row("ResNet-32", "63.7 ± 0.3", "59.0 ± 1.6", "cifar_resnet:resnet32,cifar100", usual=True),
            Row("VGG", "65.8 ± 0.3", "67.1 ± 0.3", "cifar_vgg:cifar100"),
        ),
    ),
}

# What stands beside the paper: variants that are put behind a row's config, where it has them.
ARMS = {
    "backprop, authors' recipe": ("authors_backprop",),
    "backprop, same network": ("backprop",),
    "backprop, usual network": USUAL,
    "AL, authors' recipe": ("authors",),
    "AL, ours": (),
    "AL, ours with contrast": ("contrast",),
}

# Associated loss of component 1, 2, 3 in networks of one, two and three components on MNIST.
TABLE_5 = {1: ("1.2488e-5",), 2: ("1.5469e-5", "3.5818e-7"), 3: ("1.2219e-5", "3.8033e-7", "6.7192e-10")}

# Test accuracy on MNIST by number of components.
TABLE_6 = {1: "98.49", 2: "98.60", 3: "98.71"}


class Distances(NamedTuple):
    """A row of Table 7: (inter, intra) of backprop and of Associated Learning."""

    network: str
    backprop: tuple[float, float]
    associated: tuple[float, float]
    config: str


TABLE_7 = (
    Distances("CIFAR-10 MLP", (39.36, 67.97), (0.73, 0.66), "cifar_mlp"),
    Distances("CIFAR-10 Vanilla CNN", (41.82, 26.87), (1.17, 0.36), "cifar_cnn"),
    Distances("CIFAR-100 MLP", (114.42, 342.65), (0.23, 0.28), "cifar_mlp:cifar100"),
    Distances("CIFAR-100 Vanilla CNN", (114.71, 163.43), (0.55, 0.51), "cifar_cnn:cifar100"),
)


def with_variants(config: str, *variants: str) -> str:
    """A config with further variants.

    Example:
      >>> with_variants("cifar_cnn:cifar100", "short", "backprop"), with_variants("cifar_cnn")
      ('cifar_cnn:cifar100,short,backprop', 'cifar_cnn')
    """
    stem, _, given = config.partition(":")
    names = [*names_of_variant(given), *variants]
    return f"{stem}:{','.join(names)}" if names else stem


def name_of(config: str) -> str:
    """The name of a config's results.

    Example:
      >>> name_of("configs/cifar_cnn.py:cifar100,short")
      'cifar_cnn_cifar100_short'
      >>> name_of("cifar_cnn:cifar100:short")
      'cifar_cnn_cifar100_short'
    """
    path, _, variant = config.partition(":")
    stem = path.rsplit("/", 1)[-1].removesuffix(".py")
    return "_".join([stem, *names_of_variant(variant)])
