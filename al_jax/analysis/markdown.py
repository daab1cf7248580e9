"""Rows of Markdown tables, and how a measured number is put into one."""

from collections.abc import Mapping, Sequence
from typing import Any

from al_jax.analysis.results import seeds_of

Runs = Sequence[Mapping[str, Any]]
NOT_RUN = "not run"


def header(*names: str) -> list[str]:
    return [row(*names), "|" + "---|" * len(names)]


def row(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def effort(runs: Runs) -> str:
    """What a result cost: seeds, epochs, and images where it is not all of them."""
    number, images = len(seeds_of(runs)), runs[0]["config"].get("examples")
    of = f" of {images:,} images" if images else ""
    return f"{number} seed{'s' * (number > 1)}, {runs[0]['epochs']} epochs{of}"
