"""Stages on the devices of a mesh: what each holds goes there from the host and comes back.

Arrays there have the leading axes (stages, data); a stage's devices along the data axis hold the same.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from al_jax.engines.packing import Slots
from al_jax.types import Batch

AXES = ("stage", "data")


def spread(stages: Sequence[Slots], mesh: Mesh) -> Slots:
    """Each stage's slots on that stage's devices: arrays `(stages, data, ...)`, one copy along the data axis."""
    sharding = NamedSharding(mesh, P(*AXES))

    def spread_one(*slots):
        shards = [
            jax.device_put(slot[None, None], device)
            for slot, devices in zip(map(jnp.asarray, slots), mesh.devices, strict=True)
            for device in devices
        ]
        return jax.make_array_from_single_device_arrays((*mesh.devices.shape, *slots[0].shape), sharding, shards)

    return tuple(map(spread_one, *stages))


def gather(slots: Slots, stages: int) -> list[list[np.ndarray]]:
    """Each stage's slots on the host, from the first device of its data axis."""

    def first(slot, stage):
        return next(
            np.array(shard.data)[0, 0]  # a copy: the next step writes where the state is now
            for shard in slot.addressable_shards
            if (shard.index[0].start or 0) == stage and not shard.index[1].start
        )

    return [[first(slot, stage) for slot in slots] for stage in range(stages)]


def feed(batches: Batch, mesh: Mesh) -> Batch:
    """Micro-batches `(M, B, ...)` as rows `(ceil(M / stages), stages, B, ...)`, a column with the stage that feeds it.

    The last row is filled up with zeros.
    """
    stages = len(mesh.devices)

    def rows(x):
        x = np.asarray(x)
        missing = -len(x) % stages
        if missing:
            x = np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)])
        return x.reshape(-1, stages, *x.shape[1:])

    return jax.device_put({name: rows(x) for name, x in batches.items()}, NamedSharding(mesh, P(None, *AXES)))
