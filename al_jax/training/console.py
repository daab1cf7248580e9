"""What a person sees while a run trains: a progress bar, a table row for each evaluation, a summary."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from al_jax.training.measures import part_of


class Display:
    """Writes plain lines everywhere, and on a terminal a moving progress bar over each component's losses."""

    def __init__(self, total: int, done: int, quiet: bool = False):
        self.console = Console(soft_wrap=True, highlight=False, quiet=quiet)
        self._bar = Progress(
            TextColumn("update"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[state]}"),
        )
        self._task = self._bar.add_task("training", total=total, completed=done, state="compiling")
        self._losses = Text()
        self._live = Live(Group(self._bar, self._losses), console=self.console, transient=True)
        self._header_shown = False
        if self.console.is_terminal:
            self._live.start()

    def progress(self, done: int, losses: Mapping[str, float], speed: float) -> None:
        """Moves the bar; losses are shown by component, on as many lines as they need."""
        parts: dict[int, list[str]] = {}
        for name, value in losses.items():
            parts.setdefault(part_of(name)[0], []).append(f"{value:.1e}")
        names = ", ".join(dict.fromkeys(part_of(name)[1] for name in losses))
        shown = [f"{component}: {' '.join(values)}" for component, values in parts.items()]
        self._losses.plain = f"losses ({names}) of component " + "  ".join(shown)
        self._bar.update(self._task, completed=done, state=f"{speed:,.0f} examples/s")

    def epoch(self, epoch: int, accuracies: Mapping[str, float], losses: Mapping[str, float], speed: float) -> None:
        """One row of the table of evaluations; losses are means over components."""
        names = sorted({part_of(name)[1] for name in losses})
        heads = [*(f"{split} accuracy" for split in accuracies), *names, "examples/s"]
        if not self._header_shown:
            self.console.print("epoch  " + "  ".join(f"{head:>9}" for head in heads))
            self._header_shown = True
        cells = [f"{accuracy:.2%}" for accuracy in accuracies.values()]
        for name in names:
            own = [value for key, value in losses.items() if part_of(key)[1] == name]
            cells.append(f"{sum(own) / len(own):.3e}")
        cells.append(f"{speed:,.0f}" if speed else "–")  # the first call compiles, and its time does not count
        row = (f"{cell:>{max(9, len(head))}}" for cell, head in zip(cells, heads, strict=True))
        self.console.print(f"{epoch:>5}  " + "  ".join(row))

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def close(self) -> None:
        self._live.stop()


def print_summary(summary: Mapping[str, Any], workdir: Path) -> None:
    """The last words of a run: what it reached and where things are."""
    lines = []
    for name in ("test_accuracy", "test_top5_accuracy", "validation_accuracy", "train_accuracy"):
        if name in summary:
            spread = f" ± {summary[f'{name}_std']:.2%} over {len(summary['seeds'])} seeds" if "seeds" in summary else ""
            lines.append((name.replace("_", " "), f"{summary[name]:.2%}{spread}"))
    lines += [
        ("test accuracy by depth", "  ".join(f"{accuracy:.2%}" for accuracy in summary["accuracy_by_depth"])),
        ("parameters", f"{summary['parameters']:,}, of which {summary['effective_parameters']:,} in inference"),
        ("training", f"{summary['examples_per_second']:,.0f} examples/s, {summary['wall_seconds']:.1f} s in all"),
        *([("partition", ", ".join(map(str, summary["partition"])))] if "partition" in summary else []),
        ("digest", summary["digest"]),
        ("files", f"{workdir}: summary.json, metrics.jsonl, plots, checkpoints"),
    ]
    print(*(f"{name:<24}{value}" for name, value in lines), sep="\n", flush=True)
