"""Options that several commands have, with their refusals."""

import argparse
from pathlib import Path

DATA_DIR = "where the data lies; ~/tensorflow_datasets by default"


def parser_of(module: str, doc: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m al_jax.analysis.MODULE`, whose help begins with what the module says of itself."""
    kind = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=f"python -m al_jax.analysis.{module}", description=doc, formatter_class=kind)


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
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="runs at a time; 1 by default")
    unlimited, runs, results = float("inf"), Path("runs"), Path("results")
    after = "after how many to save and stop; never by default"
    parser.add_argument("--minutes", type=minutes, default=unlimited, metavar="M", help=after)
    parser.add_argument("--runs", type=Path, default=runs, metavar="DIR", help="folder of the runs; runs by default")
    where = "folder of the results' files; results by default"
    parser.add_argument("--results", type=Path, default=results, metavar="DIR", help=where)
    parser.add_argument("--together", action="store_true", help="train the seeds of a config in one run")
