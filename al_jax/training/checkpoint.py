"""Checkpoints of flushed components: asynchronous, atomic, the newest few kept, each verified when it is read.

Orbax writes a checkpoint's folder and moves it into place when it is complete. The file SHA256SUMS in it, written last,
seals it: a folder without one was never finished, and one whose files differ from it is damaged.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from al_jax.arguments import reason
from al_jax.training.digest import named_leaves
from al_jax.training.errors import RunError
from al_jax.types import ComponentState

SEAL = "SHA256SUMS"
UNFINISHED = ".orbax-checkpoint-tmp"  # in the name of a folder that Orbax writes


class Restored(NamedTuple):
    """A checkpoint: the update it was taken after, its components, and what was saved beside them."""

    updates: int
    components: tuple[ComponentState, ...]
    notes: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one workdir; any engine on any number of devices reads them."""

    def __init__(self, workdir: Path, keep: int):
        self.folder = workdir.resolve() / "checkpoints"
        self._keep = keep
        self._orbax = _orbax_of_this_process()
        self._sealer = ThreadPoolExecutor(max_workers=1)
        self._sealing: Future | None = None

    def save(self, updates: int, components: Sequence[ComponentState], notes: Mapping[str, Any]) -> None:
        """Starts to save, once the checkpoint before is written.

        Raises:
          RunError: this one or the one before could not be written.
        """
        self.wait()
        leaves: Any = named_leaves(components)
        try:
            self._check_room(sum(leaf.nbytes for leaf in leaves.values()))
            folder, content = self.folder / str(updates), ocp.args.PyTreeSave(leaves)
            self._orbax.save(folder, args=content, force=True, custom_metadata=dict(notes))
        except Exception as error:
            raise self._unwritable(error) from error
        self._sealing = self._sealer.submit(self._seal, updates)

    def wait(self) -> None:
        """Returns when everything is written."""
        if self._sealing is not None:
            sealing, self._sealing = self._sealing, None
            try:
                sealing.result()
            except Exception as error:
                raise self._unwritable(error) from error

    def close(self) -> None:
        """Waits and lets go of the folder."""
        try:
            self.wait()
        finally:
            self._sealer.shutdown()
            self._orbax.close()

    def restore(self, shapes: Sequence[ComponentState]) -> Restored | None:
        """The newest checkpoint that is whole, None if there is none; damaged ones are named in the log and skipped.

        Args:
          shapes: the components' structure, as `jax.eval_shape` gives it.

        Raises:
          RunError: there are checkpoints but none is whole, or they belong to another network.
        """
        steps = self.steps()
        for step in steps:
            try:
                leaves, notes = self._read(step)
            except Exception as error:
                logging.error("Checkpoint %d is damaged and is not used: %s", step, reason(error)[:200])
                continue
            return Restored(step, _rebuild(leaves, shapes, self.folder), notes)
        if steps:
            raise RunError(
                f"none of the checkpoints in {self.folder} is whole: delete the folder to start the run anew"
            )
        return None

    def steps(self) -> list[int]:
        """The updates after which a finished checkpoint was taken, the newest first."""
        sealed = [path.parent.name for path in self.folder.glob(f"*/{SEAL}")]
        return sorted((int(name) for name in sealed if name.isdigit()), reverse=True)

    def _check_room(self, size: int) -> None:
        # Orbax needs minutes and many tracebacks to say that it cannot write.
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < 2 * size:  # while Orbax merges its files it has everything twice
            raise OSError(f"{free / 2**10:,.0f} KiB are free, {2 * size / 2**10:,.0f} KiB are needed")

    def _seal(self, step: int) -> None:
        self._orbax.wait_until_finished()
        folder = self.folder / str(step)
        draft = folder / f"{SEAL}.draft"
        draft.write_text("".join(f"{checksum}  {name}\n" for name, checksum in _checksums(folder).items()))
        draft.rename(folder / SEAL)
        self._remove_all_but([other for other in self.steps() if other <= step][: self._keep])

    def _remove_all_but(self, steps: Sequence[int]) -> None:
        """Called when a checkpoint is sealed: later ones were damaged, those without a seal never finished; both go."""
        for path in self.folder.glob(f"*{UNFINISHED}*"):  # of processes that were killed: none is being written now
            shutil.rmtree(path)
        for path in self.folder.iterdir():
            if path.name.isdigit() and int(path.name) not in steps:
                (path / SEAL).unlink(missing_ok=True)  # first, so that half a folder is never taken for a checkpoint
                shutil.rmtree(path)

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        # Verified before Orbax opens it: Orbax fills the terminal with tracebacks over a damaged file.
        folder = self.folder / str(step)
        sealed = dict(line.split("  ", 1)[::-1] for line in (folder / SEAL).read_text().splitlines())
        if wrong := sorted(set(sealed.items()) ^ set(_checksums(folder).items())):
            raise ValueError(f"{wrong[0][0]} differs from {SEAL}")
        leaves: Any = self._orbax.restore(folder)
        notes: Any = self._orbax.metadata(folder).custom_metadata
        return {name: np.asarray(leaf) for name, leaf in leaves.items()}, dict(notes)

    def _unwritable(self, error: Exception) -> RunError:
        return RunError(
            f"cannot write a checkpoint to {self.folder} ({reason(error)[:200]}): free space or choose another "
            "--workdir, then run the same command again; it continues from the checkpoint before"
        )


def _orbax_of_this_process() -> ocp.AsyncCheckpointer:
    """Orbax as one process alone; by default all processes of a run would have to save together."""
    own = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process_{own}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
    return ocp.AsyncCheckpointer(handler, multiprocessing_options=options)


def _checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(SEAL))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _rebuild(leaves: Mapping[str, np.ndarray], shapes, folder: Path) -> tuple[ComponentState, ...]:
    paths, tree = jax.tree_util.tree_flatten_with_path(tuple(shapes))
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    for name, (_, leaf) in zip(names, paths, strict=True):
        found = leaves.get(name)
        if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise RunError(f"the checkpoints in {folder} belong to another network: {name} is missing or differs")
    return jax.tree.unflatten(tree, [jax.numpy.asarray(leaves[name]) for name in names])
