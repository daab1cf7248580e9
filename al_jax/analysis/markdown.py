"""Rows of Markdown tables, and how a measured number is put into one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from al_jax.analysis.options import parser_of
from al_jax.analysis.results import CIFAR_10_NOTE, seeds_of
from al_jax.training.command_line import command

Runs = Sequence[Mapping[str, Any]]
NOT_RUN = "not run"


def header(*names: str) -> list[str]:
    return [row(*names), "|" + "---|" * len(names)]


def row(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def effort(runs: Runs) -> str:
    """What a result cost: seeds, epochs, and images where it is not all of them."""
    number, epochs, images = len(seeds_of(runs)), runs[0]["epochs"], runs[0]["config"].get("examples")
    of = f" of {images:,} images" if images else ""
    return f"{number} seed{'s' * (number > 1)}, {epochs} epoch{'s' * (epochs > 1)}{of}"


def table(lines: Sequence[str], hardware: Sequence[str], cifar_10: bool = False) -> str:
    """A table and what stands under it where something was measured: on what, and which copy of CIFAR-10 it was."""
    below = [f"\nMeasured on {'; '.join(dict.fromkeys(hardware))}.", *[f"\n{CIFAR_10_NOTE}"] * cifar_10]
    return "\n".join([*lines, *below] if hardware else lines)


def sections(tables: Sequence[tuple[str, str]]) -> str:
    """Tables under their titles."""
    return "\n\n".join(f"## {title}\n\n{content}" for title, content in tables)


def show(render: Callable[[Path], str], module: str, doc: str | None) -> None:
    """The command `python -m al_jax.analysis.MODULE [RESULTS]`, which prints tables."""
    parser = parser_of(module, doc)
    folder = "folder of the results' files; results by default"
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"), help=folder)
    results = parser.parse_args().results
    if not results.is_dir():
        parser.error(f"there is no folder {results}")
    command(lambda: print(render(results)))
