"""Options that several commands have, with their refusals."""

import argparse
from pathlib import Path


def positive(text: str) -> int:
    """A number of things in a command."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"it is {text} and must be at least 1")
    return number


def minutes(text: str) -> float:
    """How long a command may work."""
    if not (number := float(text)) >= 0:
        raise argparse.ArgumentTypeError(f"it is {text} and must be 0 or more")
    return number


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where runs and results lie and how long to work, for every command that calls `work`."""
    parser.add_argument("--jobs", type=positive, default=1)
    parser.add_argument("--minutes", type=minutes, default=float("inf"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--together", action="store_true")
