"""What a run leaves in its workdir while it trains: metrics.jsonl and TensorBoard events."""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyrefly: ignore[missing-module-attribute]
from tensorboardX.proto.summary_pb2 import Summary  # pyrefly: ignore[missing-module-attribute]

from al_jax.training.errors import RunError

METRICS = "metrics.jsonl"


class Records:
    """Appends rows to metrics.jsonl and TensorBoard; a resumed run first drops the rows it will write again."""

    def __init__(self, workdir: Path, updates_done: int):
        self._path = workdir / METRICS
        kept = [row for row in read_rows(workdir) if row["update"] <= updates_done]
        write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = self._path.open("a")
        (workdir / "tensorboard").mkdir(exist_ok=True)
        # Without SummaryWriter's thread, which blocks its callers for ever once it cannot write.
        self._events = EventsWriter(str(workdir / "tensorboard" / "events"), filename_suffix=f".{os.getpid()}")
        again = SessionLog(status=SessionLog.START)  # TensorBoard drops what came after this step before
        self._events.write_event(Event(step=updates_done + 1, session_log=again))

    def write(self, update: int, **values: Any) -> None:
        """One row; its floating-point numbers also go to TensorBoard, under their seed if the row has one."""
        self._file.write(json.dumps({"update": update, **values}) + "\n")
        self._file.flush()
        folder = f"seed_{values['seed']}/" if "seed" in values else ""
        scalars = [
            Summary.Value(tag=folder + name, simple_value=value)
            for name, value in values.items()
            if isinstance(value, float)
        ]
        self._events.write_event(Event(wall_time=time.time(), step=update, summary=Summary(value=scalars)))
        self._events.flush()

    def close(self) -> None:
        self._file.close()
        self._events.close()


def read_rows(workdir: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, less those that were cut off or damaged; none if there is no such file."""
    path = workdir / METRICS
    rows = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and "update" in row]


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file in one step, so that nobody ever sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """Reads what `write_json` wrote.

    Raises:
      RunError: the file does not exist or is damaged, or has not all that is needed.
    """
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise RunError(f"{path} is another kind of file: it holds no names with values")
        if missing := [name for name in needed if name not in found]:
            raise RunError(f"{path} is another kind of file: it has no {missing[0]!r}")
        return found
    except FileNotFoundError as error:
        raise RunError(f"there is no file {path}: give one that a run or command wrote") from error
    except IsADirectoryError as error:
        raise RunError(f"{path} is a folder: give a file in it") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: it holds no JSON; take it from a copy, or train anew elsewhere") from error


def writable(path: Path) -> Path:
    """The file, for which a folder is made; called before anything is measured that would be lost without it.

    Raises:
      RunError: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise RunError(f"cannot write {path} ({error.strerror}): choose another place for it") from error
    return path


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON atomically, into a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content, indent=2) + "\n")
