"""A trained network back from its workdir, for prediction without a trainer."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from al_jax.arguments import reason
from al_jax.components import with_prepare
from al_jax.data.sizes import SIZES
from al_jax.training.build import build_prepare
from al_jax.training.checkpoint import Checkpoints, Restored
from al_jax.training.config import MAY_CHANGE, Config, default_config, differences
from al_jax.training.errors import RunError
from al_jax.training.facts import DataFacts
from al_jax.training.networks import build_network
from al_jax.training.records import read_json
from al_jax.training.run import Finished, Run, component_shapes, set_up, stored_shapes
from al_jax.types import ComponentState, Network


def load(workdir: str | Path) -> tuple[Network, tuple[ComponentState, ...]]:
    """Network and components of the newest checkpoint in a workdir; the data set is not needed.

    The network's `predict` takes the data set's own uint8 images and prepares them itself:

        network, components = al.load("runs/digits")
        scores = network.predict([part.variables for part in components], images)

    With several seeds, every leaf has a leading axis of seeds.

    Raises:
      RunError: there is no run, or none of its checkpoints is whole.
    """
    if not isinstance(workdir, str | os.PathLike):
        raise RunError(f"al.load takes the workdir of a run, as 'runs/digits', not {workdir!r}")
    workdir = Path(workdir)
    if not (workdir / "config.json").exists() and str(workdir) in SIZES:
        raise RunError(f"al.load takes the workdir of a run: al_jax.data.load reads data sets, such as {workdir}")
    config, facts = _config(workdir), DataFacts.read(workdir)
    network = build_network(config, facts)
    components = _newest(workdir, config, component_shapes(config, facts, network)).components
    return with_prepare(network, build_prepare(config, facts)), components


def load_run(
    workdir: Path, data_dir: str = "", asked: Mapping[str, Any] | None = None, chosen: Config | None = None
) -> Run:
    """The run as its config.json describes it, on one device; its data may have moved to `data_dir`.

    Raises:
      RunError: there is no run, or it was trained with other values of fields that are `asked` for, or than the
        `chosen` config has.
    """
    config = _config(workdir)
    for name, value in (asked or {}).items():
        if name not in MAY_CHANGE and config[name] != value:
            raise RunError(
                f"{workdir} was trained with {name}={config[name]!r}, not {value!r}: leave config.{name} out"
            )
    if chosen is not None and (changed := differences(config.to_dict(), chosen.to_dict())):
        raise RunError(
            f"{workdir} was trained with another configuration than --config gives ({'; '.join(changed)}): leave "
            "--config out, the run has its own, or give another --workdir"
        )
    # Where it was trained does not matter any more, nor with how much memory.
    config.update({"engine": "sequential", "devices": 1, "data_parallel": 1, "partition": "even", "exact": False})
    config.remat = False
    config.data_dir = data_dir or config.data_dir
    return set_up(config, workdir)


def finished(run: Run) -> Finished:
    """The end of a run that was trained before.

    Raises:
      RunError: there is no checkpoint, or the run was stopped before its end.
    """
    restored = _newest(run.workdir, run.config, run.shapes)
    if restored.updates != run.updates:
        raise RunError(
            f"{run.workdir} has done {restored.updates} of {run.updates} updates: run it to its end without "
            "config.evaluate first"
        )
    return Finished.at_the_end(restored.components, restored.notes)


def _config(workdir: Path) -> Config:
    path = workdir / "config.json"
    if not path.exists():
        raise RunError(f"there is no run in {workdir}: it has no config.json; give the workdir of one")
    config = default_config()
    try:
        config.update(ConfigDict(read_json(path)))
    except TypeError as error:
        raise RunError(f"{path} is damaged ({reason(error)}): take it from a copy, or train anew elsewhere") from error
    return config


def _newest(workdir: Path, config: Config, shapes: tuple[ComponentState, ...]) -> Restored:
    restored = Checkpoints(workdir, config.keep).restore(stored_shapes(config, shapes))
    if restored is None:
        raise RunError(f"there is no finished checkpoint in {workdir}: train the run first")
    return restored
