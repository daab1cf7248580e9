"""What goes to the devices of a mesh, and comes back as it went."""

import jax
import numpy as np
from jax.sharding import Mesh

from al_jax.engines.placement import AXES, feed, gather, spread


def mesh(stages, data):
    return Mesh(np.asarray(jax.devices()[: stages * data]).reshape(stages, data), AXES)


def test_slots_lie_on_their_stage_s_devices_and_come_back():
    stages = [(np.float32([stage, 1]), np.int32(stage)) for stage in range(2)]
    slots = spread(stages, mesh(2, 2))
    assert [slot.shape for slot in slots] == [(2, 2, 2), (2, 2)]
    for shard in slots[1].addressable_shards:
        assert shard.device == jax.devices()[2 * shard.index[0].start + shard.index[1].start]
    for sent, received in zip(stages, gather(slots, 2), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(sent, received, strict=True))


def test_each_stage_feeds_every_pth_micro_batch_and_zeros_fill_the_last_row():
    images = np.arange(1, 11, dtype=np.uint8).reshape(5, 2)
    rows = feed({"image": images}, mesh(3, 1))["image"]
    assert (rows.shape, rows.dtype) == ((2, 3, 2), np.uint8)
    np.testing.assert_array_equal(rows.reshape(6, 2)[:5], images)
    assert not rows[1, 2].any()
    assert [shard.index[1].start for shard in rows.addressable_shards] == [0, 1, 2]
