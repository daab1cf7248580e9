"""What a run leaves in its workdir while it trains: metrics.jsonl and TensorBoard events."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from al_jax.training.errors import RunError

METRICS = "metrics.jsonl"


class Records:
    """Appends rows to metrics.jsonl and TensorBoard; a resumed run first drops the rows it will write again."""

    def __init__(self, workdir: Path, updates_done: int):
        self._path = workdir / METRICS
        kept = [row for row in read_rows(workdir) if row["update"] <= updates_done]
        write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = self._path.open("a")
        self._events = SummaryWriter(str(workdir / "tensorboard"), purge_step=updates_done + 1)

    def write(self, update: int, **values: Any) -> None:
        """One row; numbers also go to TensorBoard."""
        self._file.write(json.dumps({"update": update, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, float):
                self._events.add_scalar(name, value, update)

    def close(self) -> None:
        self._file.close()
        self._events.close()


def read_rows(workdir: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, less a last one that was cut off; none if there is no such file."""
    path = workdir / METRICS
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file in one step, so that nobody ever sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Reads what `write_json` wrote.

    Raises:
      RunError: the file does not exist or is damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise RunError(f"there is no {path}: give the folder of a run that wrote it") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: it holds no JSON; take it from a copy, or train anew elsewhere") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON atomically."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")
