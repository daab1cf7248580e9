"""Backpropagation cut over devices as a trainer of few words: `place`, `step` and `parameters`."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import al_jax as al
from al_jax.engines import placement
from al_jax.engines.packing import pack, unpack
from benchmarks.pipeline import programs
from benchmarks.pipeline.cases import Case
from benchmarks.pipeline.passes import cut, make_passes


class Schedule(NamedTuple):
    """Which pipeline: micro-batches of an update, whether the backward pass computes the forward pass again, and
    whether updates wait for nothing, so that versions of the parameters mix."""

    micro_batches: int = 1
    remat: bool = False
    mixed: bool = False


class Pipeline(NamedTuple):
    """A pipeline of backpropagation.

    Attributes:
      place: `components -> state`, from what a trainer of `al.backprop` holds.
      step: `(state, batches) -> (state, losses)` over `(N, B, ...)`; consumes the state.
      parameters: `state -> params`, by the names of `al.backprop`; all processes take part.
    """

    place: Callable[[Sequence[al.ComponentState]], Any]
    step: Callable[[Any, Any], tuple[Any, jax.Array]]
    parameters: Callable[[Any], dict[str, Any]]


def pipeline(case: Case, devices: Sequence[jax.Device], schedule: Schedule, start) -> Pipeline:
    """Makes the pipeline that trains a case from the components `start`."""
    stages, number = len(devices), schedule.micro_batches
    cuts, mesh = cut(case, stages), Mesh(np.asarray(devices)[:, None], placement.AXES)
    batch = {"image": ((case.batch // number, *case.image), np.uint8), "label": ((case.batch // number,), np.int32)}
    shapes = [jax.ShapeDtypeStruct(*batch[name]) for name in ("image", "label")]
    held = _held(case, start, cuts)
    passes = make_passes(cuts, [params for params, _ in held], *shapes, schedule.remat)
    layouts = programs.layouts_of(held, passes)
    make = programs.mixed if schedule.mixed else programs.gpipe
    program = make(passes, layouts, case.optimizer, *(() if schedule.mixed else (number,)))
    state = P(*placement.AXES)
    mapped = jax.shard_map(program, mesh=mesh, in_specs=(state, P()), out_specs=(state, P(None, *placement.AXES)))
    compiled = jax.jit(mapped, donate_argnums=0)

    def place(components):
        packed = [pack(layouts.held, stage, own) for stage, own in enumerate(_held(case, components, cuts))]
        return placement.spread(packed, mesh)

    def step(state, batches):
        cut_up = {name: x.reshape(len(x), number, -1, *x.shape[2:]) for name, x in batches.items()}
        everywhere = NamedSharding(mesh, P())
        fed = {name: jax.make_array_from_process_local_data(everywhere, x) for name, x in cut_up.items()}
        return compiled(state, fed)

    def parameters(state):
        rows = enumerate(placement.gather(state, stages))
        trees = [unpack(layouts.held, stage, slots)[0] for stage, slots in rows]
        return {name: own for tree in trees for name, own in tree.items()}

    return Pipeline(place, step, parameters)


def _held(case: Case, components, cuts) -> list[tuple[Any, Any]]:
    """Parameters and fresh optimizer state of each stage."""
    (whole,) = components
    params = [{name: whole.params[name] for name, _ in layers} for layers in cuts]
    return [(own, case.optimizer.init(own)) for own in params]
