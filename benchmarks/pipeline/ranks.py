"""Arms on two devices: processes that `jax.distributed` joins, each pinned to its own core, with gloo between them."""

import gc
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import al_jax as al
from al_jax.chain import signal_shapes
from benchmarks import timing
from benchmarks.pipeline.backward import Schedule, pipeline
from benchmarks.pipeline.cases import PREPARE, Case
from benchmarks.pipeline.costs import compiled_by
from benchmarks.pipeline.one_device import Trained, bytes_of, first_repetition
from benchmarks.workers import Functions, start_jax

RANKS = 2
AXIS = "stage"


class Stages(NamedTuple):
    """Pipelined AL: the components of each stage, and the micro-batches of an update."""

    partition: tuple[int, ...]
    micro_batches: int = 1


def functions(rank: int, address: str, case: Case, exact: bool = False) -> Functions:
    """As those of one device. `train` takes AL's stages, or the schedule of a pipeline of backpropagation."""
    start_jax(exact=exact, rank=rank, ranks=RANKS, address=address)
    arms = {}

    def train_associated(stages: Stages) -> Trained:
        partition, number = stages
        trainer = al.pipelined(
            case.associated(),
            case.optimizer,
            jax.devices(),
            partition=partition,
            accumulate=number,
            prepare=PREPARE,
            exact=exact,
        )
        cut = case._replace(micro_batches=number)
        batches = cut.batches(rows=RANKS - 1)  # the rows in which it drains

        def step(state, batches):
            return trainer.step(state, batches, valid=case.updates * number)

        start = trainer.components(trainer.init(jax.random.key(0), cut.shapes()))
        state, trained = first_repetition(trainer, step, start, batches, bytes_of(batches) // RANKS)
        arms[stages] = timing.training(step, state, batches)
        return trained

    def train_backprop(schedule: Schedule) -> Trained:
        batches, trainer = case.batches(), al.sequential(case.backprop(), case.optimizer, jax.local_devices())
        start = trainer.components(trainer.init(jax.random.key(0), case.shapes()))
        made = pipeline(case, jax.devices(), schedule, start)
        (state, _), memory = compiled_by(lambda: made.step(made.place(start), batches))
        arms[schedule] = timing.training(made.step, state, batches)
        return Trained(None, [made.parameters(state)], None, memory - bytes_of(batches))

    def time(arm) -> timing.Sample:
        multihost_utils.sync_global_devices("start")
        return arms[arm]()

    def train(arm) -> Trained:
        trained = train_backprop(arm) if isinstance(arm, Schedule) else train_associated(arm)
        gc.collect()  # compiled functions and what they trained refer to each other, and arrays are large
        return trained._replace(start=None, end=trained.end if rank == 0 else None)  # the others have the same

    def transfers(stages: Stages) -> None:
        cut = case._replace(micro_batches=stages.micro_batches)
        arms["transfers"] = transfers_alone(cut, stages.partition[0])

    def forget(arm) -> None:
        del arms[arm]
        gc.collect()

    return {"train": train, "transfers": transfers, "time": time, "forget": forget}


def transfers_alone(case: Case, boundary: int):
    """Repetitions of ticks in which nobody works, one a micro-batch: signals into a component go up, images down."""
    shapes = case.shapes()
    signal = signal_shapes(case.associated(), shapes)[0][boundary]
    belt = {"image": jax.ShapeDtypeStruct(shapes["image"].shape, jnp.uint8), "label": shapes["label"]}
    mesh = Mesh(np.asarray(jax.devices()), (AXIS,))

    def run(moving):
        def tick(moving, _):
            up, down = moving
            return (_permute(up, 1), _permute(down, -1)), None

        return jax.lax.scan(tick, moving, length=case.updates * case.micro_batches)[0]

    def zeros(x):
        whole = np.zeros((RANKS, x.size), x.dtype)
        return jax.make_array_from_callback(whole.shape, NamedSharding(mesh, P(AXIS)), lambda index: whole[index])

    mapped = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)))
    moving = jax.block_until_ready(mapped(jax.tree.map(zeros, (signal, belt))))
    return lambda: timing.measure(lambda: mapped(moving))


def _permute(tree, by: int):
    return jax.lax.ppermute(tree, AXIS, [(rank, (rank + by) % RANKS) for rank in range(RANKS)])
