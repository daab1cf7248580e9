"""Stages on the devices of a mesh: what each holds goes there from the host and comes back.

Arrays there have the leading axes (stages, data); a stage's devices along the data axis hold the same. Under
`jax.distributed` each process puts and feeds what its own devices hold, and all of them take part in `gather`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from al_jax.engines.packing import Slots
from al_jax.types import Batch

AXES = ("stage", "data")


def home(devices: Sequence[jax.Device]) -> jax.Device:
    """The first of the devices that belongs to this process.

    Raises:
      ValueError: none does.
    """
    own = [device for device in devices if device.process_index == jax.process_index()]
    if not own:
        raise ValueError(
            f"process {jax.process_index()} has none of the {len(devices)} devices: give every process at least one"
        )
    return own[0]


def spread(stages: Sequence[Slots], mesh: Mesh) -> Slots:
    """Each stage's slots on that stage's devices: arrays `(stages, data, ...)`, one copy along the data axis."""
    sharding = NamedSharding(mesh, P(*AXES))

    def spread_one(*slots):
        shards = [
            jax.device_put(slot[None, None], device)
            for slot, devices in zip(map(jnp.asarray, slots), mesh.devices, strict=True)
            for device in devices
            if device.process_index == jax.process_index()
        ]
        return jax.make_array_from_single_device_arrays((*mesh.devices.shape, *slots[0].shape), sharding, shards)

    return tuple(map(spread_one, *stages))


def gather(slots: Slots, stages: int) -> list[list[np.ndarray]]:
    """Each stage's slots on the host of every process, from the first device of its data axis."""

    def first(slot, stage):
        return next(
            np.array(shard.data)[0, 0]  # a copy: the next step writes where the state is now
            for shard in slot.addressable_shards
            if (shard.index[0].start or 0) == stage and not shard.index[1].start
        )

    if all(slot.is_fully_addressable for slot in slots):
        return [[first(slot, stage) for slot in slots] for stage in range(stages)]
    # One slot after another, so that a device never holds more than one of them for all stages.
    whole = [np.asarray(multihost_utils.process_allgather(slot, tiled=True)) for slot in slots]
    return [[slot[stage, 0] for slot in whole] for stage in range(stages)]


def feed(batches: Batch, mesh: Mesh) -> Batch:
    """Micro-batches `(M, B, ...)` as rows `(ceil(M / stages), stages, B, ...)`, a column with the stage that feeds it.

    The last row is filled up with zeros. Only what this process's devices feed is read.
    """
    stages, sharding = len(mesh.devices), NamedSharding(mesh, P(None, *AXES))

    def put(x):
        x = np.asarray(x)
        rows = -(-len(x) // stages)

        def column(index):
            _, stage, *examples = index
            own = x[(slice(stage.start, None, stages), *examples)]
            if len(own) < rows:
                own = np.concatenate([own, np.zeros((1, *own.shape[1:]), x.dtype)])
            return own[:, None]

        return jax.make_array_from_callback((rows, stages, *x.shape[1:]), sharding, column)

    return {name: put(x) for name, x in batches.items()}


def fed_here(number: int, size: int, mesh: Mesh) -> np.ndarray:
    """Which examples of micro-batches `(M, B)` the devices of this process feed, bool `(M, B)`."""
    stages = len(mesh.devices)
    fed = np.zeros((-(-number // stages), stages, size), bool)
    for index in NamedSharding(mesh, P(None, *AXES)).addressable_devices_indices_map(fed.shape).values():
        fed[index] = True
    return fed.reshape(-1, size)[:number]
