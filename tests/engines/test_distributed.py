"""What processes agree on, where there is one; several are in tests/training/test_processes.py."""

import jax
import numpy as np
import optax
import pytest
from support import Local

import al_jax as al
from al_jax.data import Split, batches_in_part
from al_jax.engines import distributed
from al_jax.engines.placement import AXES, fed_here


def test_a_process_alone_is_first_and_agrees_with_itself():
    distributed.start()  # no coordinator: nothing to join
    assert (distributed.size(), distributed.rank(), distributed.first()) == (1, 0, True)
    assert distributed.Agreement(timeout=1).ask(15, 0) == (15, 0)
    assert distributed.on_first(lambda: "read") == "read"
    np.testing.assert_array_equal(distributed.total(np.arange(3)), np.arange(3))


def test_what_the_first_raises_all_raise():
    with pytest.raises(ZeroDivisionError):
        distributed.on_first(lambda: 1 // 0)


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="process_id is 2: with num_processes=2 it must be from 0 to 1"):
        distributed.start("host:1", 2, 2)


def test_a_cluster_that_is_not_found_is_explained(monkeypatch):
    def initialize(**fields):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(ValueError, match=r"coordinator is 'auto', but .* give coordinator=host:port, num_processes"):
        distributed.start("auto")


def test_devices_are_counted():
    assert distributed.devices(3) == jax.devices()[:3]
    with pytest.raises(ValueError, match="5 devices are asked for, but there are 4 cpu devices: use at most 4"):
        distributed.devices(5)


MINE = {  # of 5 micro-batches of 8 examples, by the devices of a stage: what the first of two processes feeds
    1: np.arange(5)[:, None] % 4 < np.full(8, 2),
    2: np.arange(5)[:, None] % 2 < np.full(8, 1),
    4: np.arange(8)[None] < np.full((5, 1), 4),
}


@pytest.mark.parametrize("data", MINE)
def test_a_process_feeds_the_examples_of_its_own_devices_and_no_others(monkeypatch, data):
    """Stage s of p feeds micro-batches s, s + p, ..., and each of its devices an equal part of them."""
    network = al.compose(map(al.component, (Local(8),) * 4))
    reads = []
    for own in (jax.devices()[:2], jax.devices()[2:]):

        def indices(sharding, shape, own=own):
            return {device: index for device, index in sharding.devices_indices_map(shape).items() if device in own}

        monkeypatch.setattr(jax.sharding.NamedSharding, "addressable_devices_indices_map", indices)
        monkeypatch.setattr(jax.sharding.Mesh, "local_devices", own)
        trainer = al.pipelined(network, optax.sgd(0.1), jax.devices(), data=data, shards=data)
        reads.append(trainer.reads(5, 8))
    np.testing.assert_array_equal(reads, [MINE[data], ~MINE[data]])


@pytest.mark.parametrize("data", [1, 2])
def test_a_process_that_is_alone_feeds_everything(data):
    """Rows that only fill up the last one do not count."""
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()).reshape(-1, data), AXES)
    assert fed_here(5, 6, mesh).all()
    assert fed_here(5, 6, mesh).shape == (5, 6)


def test_a_part_of_the_batches_is_read_and_the_rest_is_zeros():
    images = np.arange(1, 13, dtype=np.uint8).reshape(12, 1, 1, 1)
    examples = Split(images, np.arange(12, dtype=np.int32))
    indices = np.arange(12).reshape(2, 3, 2)
    needed = np.array([[True, False], [False, False], [True, True]])
    whole, part = list(examples.batches(indices)), list(batches_in_part(examples, indices, needed))
    for one, other in zip(whole, part, strict=True):
        for name in one:
            np.testing.assert_array_equal(other[name][needed], one[name][needed])
            assert not other[name][~needed].any()
            assert other[name].shape == one[name].shape
    for one, other in zip(whole, batches_in_part(examples, indices, None), strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
