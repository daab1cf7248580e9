"""What processes agree on, where there is one; several are in tests/training/test_processes.py."""

import socket

import jax
import numpy as np
import optax
import pytest
from support import Local

import al_jax as al
from al_jax import ports
from al_jax.data import Split, batches_in_part
from al_jax.engines import distributed, world
from al_jax.engines.placement import AXES, fed_here


def test_a_process_alone_is_first_and_agrees_with_itself():
    world.start()  # no coordinator: nothing to join
    assert (distributed.size(), distributed.rank(), distributed.first()) == (1, 0, True)
    assert distributed.Agreement(timeout=1).ask(15, 0) == (15, 0)
    assert distributed.on_first(lambda: "read") == "read"
    np.testing.assert_array_equal(distributed.total(np.arange(3)), np.arange(3))


def test_what_the_first_raises_all_raise():
    with pytest.raises(ZeroDivisionError):
        distributed.on_first(lambda: 1 // 0)


WRONG = {
    "no port": ({"coordinator": "localhost"}, "coordinator is 'localhost': it must be host:port, as in node1:1234"),
    "a name for a port": ({"coordinator": "localhost:abc"}, "coordinator is 'localhost:abc': it must be host:port"),
    "no such port": ({"coordinator": "localhost:65536"}, "coordinator is 'localhost:65536': it must be host:port"),
    "no host": ({"coordinator": ":1234"}, "coordinator is ':1234': it must be host:port"),
    "fewer than none": ({"processes": -2}, "num_processes is -2: it must be at least 1, or 0 for what"),
    "below the first": ({"process": -2}, "process_id is -2: it must be at least 0, or -1 for what"),
    "for ever": ({"timeout": float("inf")}, "start_timeout is inf: it must be a positive number of seconds"),
    "no time": ({"timeout": 0}, "start_timeout is 0: it must be a positive number of seconds"),
    "nowhere to meet": ({"processes": 2}, "coordinator is empty, but num_processes is 2 and process_id -1: give"),
    "beyond the last": (
        {"coordinator": "host:1", "processes": 2, "process": 2},
        "process_id is 2: with num_processes=2 it must be from 0 to 1",
    ),
}


@pytest.mark.parametrize(("fields", "message"), WRONG.values(), ids=WRONG.keys())
def test_fields_that_cannot_be_are_refused_in_a_sentence(monkeypatch, fields, message):
    monkeypatch.setattr(jax.distributed, "initialize", None)
    with pytest.raises(ValueError, match=message) as refusal:
        world.start(**fields)
    assert "\n" not in str(refusal.value)


def test_a_free_port_is_nobody_else_s_until_who_was_told_of_it_listens():
    port = ports.free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    socket.create_server(("", port)).close()


def test_what_the_environment_says(monkeypatch):
    for variable in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(variable, raising=False)
    assert world.of_environment() == world.World("", 0, -1)
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "[::1]:1234")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    monkeypatch.setenv("JAX_PROCESS_ID", "0")
    assert world.of_environment() == world.World("[::1]:1234", 2, 0)
    for variable, text in (
        ("JAX_PROCESS_ID", "-1"),
        ("JAX_NUM_PROCESSES", "two"),
        ("JAX_NUM_PROCESSES", "0"),
        ("JAX_COORDINATOR_ADDRESS", "localhost"),
    ):
        monkeypatch.setenv(variable, text)
        with pytest.raises(ValueError, match=f"^{variable} is '{text}': it must be "):
            world.of_environment()


def test_a_value_longer_than_a_chunk_comes_to_the_others_in_several(monkeypatch):
    sent = []
    monkeypatch.setattr(distributed, "CHUNK", 7)
    monkeypatch.setattr(distributed.multihost_utils, "broadcast_one_to_all", lambda x: sent.append(x.copy()) or x)
    value = {"components": np.arange(5), "notes": -0.0}
    distributed._broadcast(value)
    length = sum(part.size for part in sent[1:])
    assert (sent[0].dtype, *sent[0]) == (np.uint32, 0, length)
    assert {part.size for part in sent[1:]} == {7, length % 7 or 7}

    monkeypatch.setattr(distributed, "first", lambda: False)
    given = iter(sent)

    def receive(own):
        theirs = next(given)
        assert (own.shape, own.dtype) == (theirs.shape, theirs.dtype)
        assert not own.any()
        return theirs

    monkeypatch.setattr(distributed.multihost_utils, "broadcast_one_to_all", receive)
    received = distributed._broadcast(None)
    np.testing.assert_array_equal(received["components"], value["components"])
    assert str(received["notes"]) == "-0.0"


@pytest.mark.parametrize(
    "error", [ValueError("coordinator_address should be defined."), KeyError("OMPI_COMM_WORLD_SIZE"), RuntimeError("?")]
)
def test_a_cluster_that_is_not_found_is_explained(monkeypatch, error):
    def initialize(**fields):
        raise error

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(ValueError, match=r"coordinator is 'auto', but .* give coordinator=host:port, num_processes"):
        world.start("auto")


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
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()).reshape(-1, data), AXES)
    vars(mesh).pop("local_devices", None)  # of an equal one, which another test has looked at
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
