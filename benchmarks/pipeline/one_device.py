"""Arms on one device: both rules on the sequential engine, and every component of Associated Learning by itself."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import al_jax as al
from al_jax.chain import signal_shapes
from al_jax.training.digest import digest
from benchmarks import timing
from benchmarks.pipeline.cases import CLASSES, PREPARE, Case
from benchmarks.pipeline.costs import compiled_by
from benchmarks.workers import Functions, start_jax

SAMPLED = 8  # updates for which a component is timed by itself, over and over


class Trained(NamedTuple):
    """What a first repetition left: parameters before and after, the digest of all that was trained, bytes on a device.

    The digest covers parameters, optimizer state and updates; None where there are no components to take it of.
    """

    start: Any
    end: Any
    digest: str | None
    memory: int  # without the data


def functions(case: Case, exact: bool = False) -> Functions:
    """`train(rule, micro_batches)` and `components(micro_batches)` come first; `time` measures a repetition of an arm.

    Its arms are those pairs, and those that `components` gives.
    """
    start_jax(exact=exact)
    arms = {}

    def trainer_of(rule: str, micro_batches: int) -> al.Trainer:
        return al.sequential(case.network(rule), case.optimizer, prepare=PREPARE, accumulate=micro_batches, exact=exact)

    @functools.cache
    def start(rule: str):
        trainer = trainer_of(rule, 1)
        return trainer.components(trainer.init(jax.random.key(0), case.shapes()))

    def train(rule: str, micro_batches: int = 1) -> Trained:
        trainer = trainer_of(rule, micro_batches)
        batches = case._replace(micro_batches=micro_batches).batches()
        state, trained = first_repetition(trainer, trainer.step, start(rule), batches, bytes_of(batches))
        arms[rule, micro_batches] = timing.training(trainer.step, state, batches)
        return trained

    def components(micro_batches: int = 1) -> list[tuple[str, int]]:
        cut = case._replace(micro_batches=micro_batches)
        found, arm_of = components_alone(cut, start("associated"), exact)
        arms.update({(name, micro_batches): repetition for name, repetition in found.items()})
        return [(name, micro_batches) for name in arm_of]

    return {"train": train, "components": components, "time": lambda arm: arms[arm]()}


def bytes_of(batches) -> int:
    return sum(x.nbytes for x in batches.values())


def first_repetition(trainer: al.Trainer, step, start, batches, fed: int) -> tuple[Any, Trained]:
    """The state after a first call of `step`, and what there is to check; `fed` are the bytes of data on a device."""
    (state, _), memory = compiled_by(lambda: step(trainer.place(start), batches))
    end = trainer.components(state)
    params = [jax.device_get([own.params for own in components]) for components in (start, end)]
    return state, Trained(*params, digest(end), memory - fed)


def components_alone(case: Case, states: Sequence[al.ComponentState], exact: bool) -> tuple[dict[str, Any], list[str]]:
    """Repetitions of `SAMPLED` updates of single components on signals of the shapes that enter them.

    Returns:
      One for all components of the same shapes, and the name of that of each component.
    """
    network, rng = case.associated(), np.random.default_rng(0)
    entering, _ = signal_shapes(network, case.shapes())
    found, arm_of = {}, {}

    def drawn(x):
        size = SAMPLED * case.micro_batches, *x.shape
        whole = not jnp.issubdtype(x.dtype, jnp.floating)  # labels
        return (rng.integers(CLASSES, size=size) if whole else rng.random(size)).astype(x.dtype)

    names = []
    for index, (part, state, shapes) in enumerate(zip(network.components, states, entering, strict=True)):
        kind = str(jax.tree.map(jnp.shape, (state, shapes)))
        if kind not in arm_of:
            signals = jax.tree.map(drawn, shapes)
            alone = al.sequential(al.compose([part]), case.optimizer, accumulate=case.micro_batches, exact=exact)
            held, _ = alone.step(alone.place([state]), signals)
            arm_of[kind] = f"component {index + 1}"
            found[arm_of[kind]] = timing.training(alone.step, held, signals)
        names.append(arm_of[kind])
    return found, names
