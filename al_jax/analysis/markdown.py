"""Rows of Markdown tables, and how a measured number is put into one."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from al_jax.analysis.results import seeds_of
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


def measured_on(hardware: Sequence[str]) -> list[str]:
    """What stands under a table, nothing where nothing was measured."""
    return [f"\nMeasured on {'; '.join(dict.fromkeys(hardware))}."] if hardware else []


def show(render: Callable[[Path], str], module: str, description: str) -> None:
    """The command `python -m al_jax.analysis.MODULE [RESULTS]`, which prints tables."""
    parser = argparse.ArgumentParser(prog=f"python -m al_jax.analysis.{module}", description=description)
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"))
    results = parser.parse_args().results
    if not results.is_dir():
        parser.error(f"there is no folder {results}")
    command(lambda: print(render(results)))
