"""Starting a run from the components of another one."""

from collections.abc import Sequence
from pathlib import Path

import jax

from al_jax.training.errors import RunError
from al_jax.training.load import load
from al_jax.types import ComponentState


def warm_start(components: Sequence[ComponentState], workdir: str) -> tuple[ComponentState, ...]:
    """Puts parameters and model state of a finished run into as many components, from the first, as it has.

    Optimizer state, update counts and keys stay new.

    Raises:
      RunError: the other run's components do not fit.
    """
    try:
        _, source = load(Path(workdir).expanduser())
    except RunError as error:
        raise RunError(f"config.warm_start={workdir} cannot be loaded: {error}") from error
    if source[0].updates.ndim:
        raise RunError(f"config.warm_start={workdir} holds several seeds: give a run of one seed")
    if len(source) > len(components):
        raise RunError(
            f"config.warm_start={workdir} has {len(source)} components, this run only {len(components)}: give it at "
            "least as many"
        )
    warm = []
    for index, (own, other) in enumerate(zip(components, source, strict=False)):
        taken = own._replace(params=other.params, model_state=other.model_state)
        shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), (part.params, part.model_state)) for part in (own, taken)]
        if shapes[0] != shapes[1]:
            raise RunError(
                f"component {index + 1} of config.warm_start={workdir} has other parameters than this run's: give both "
                "the same widths"
            )
        warm.append(taken)
    return (*warm, *components[len(source) :])
