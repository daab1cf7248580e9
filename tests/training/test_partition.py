"""Which partition a run trains with: given, noted in a checkpoint, or measured."""

import functools
from pathlib import Path

import pytest

from al_jax.training import partition
from al_jax.training.config import default_config
from al_jax.training.errors import ConfigError
from al_jax.training.partition import decide_partition, partition_notes, profile_config, settled
from al_jax.training.run import set_up


def pipeline(tmp_path, **fields):
    small = {"width": 8, "code": 8, "engine": "pipelined", "devices": 2, "partition": "auto"}
    return set_up(default_config(**(small | fields)), tmp_path)


@functools.cache
def compiled():
    """The costs of `pipeline`, compiled once for all tests."""
    run = pipeline(Path())
    return profile_config(run.config, run.facts)


@pytest.fixture
def measured(monkeypatch):
    """In place of a clock: the fourth component takes thrice as long as any other. Counts how often it is asked."""
    asked = []

    def profile(config, facts, measure_on):
        asked.append(measure_on)
        costs = zip(found.costs, (1.0, 1.0, 1.0, 3.0), strict=True)
        return found._replace(costs=tuple(cost._replace(seconds=seconds) for cost, seconds in costs))

    found = compiled()
    monkeypatch.setattr(partition, "profile_config", profile)
    return asked


def test_it_is_measured_where_nothing_is_noted(tmp_path, measured):
    run = settled(pipeline(tmp_path), {})
    assert run.partition == (3, 1)
    assert partition_notes(run) == {"partition": [3, 1], "partition_field": "auto"}
    assert len(measured) == 1


def test_what_was_measured_before_is_used_again(tmp_path, measured):
    noted = {"partition": [1, 3], "partition_field": "auto"}
    assert settled(pipeline(tmp_path), noted).partition == (1, 3)
    assert not measured


@pytest.mark.parametrize(
    ("devices", "noted", "expected"),
    [
        (3, {"partition": [1, 3], "partition_field": "auto"}, (1, 2, 1)),
        (2, {"partition": [2, 2], "partition_field": "even"}, (3, 1)),
    ],
    ids=["other number of stages", "not measured before"],
)
def test_it_is_measured_anew(tmp_path, measured, devices, noted, expected):
    assert settled(pipeline(tmp_path, devices=devices), noted).partition == expected
    assert len(measured) == 1


@pytest.mark.parametrize(("field", "expected"), [("even", (2, 2)), ("1,3", (1, 3))])
def test_what_the_config_gives_is_not_measured(tmp_path, measured, field, expected):
    run = settled(pipeline(tmp_path, partition=field), {"partition": [3, 1], "partition_field": "auto"})
    assert run.partition == expected
    assert partition_notes(run)["partition"] == list(expected)
    assert not measured


def test_a_device_is_measured_on_its_share_of_a_micro_batch(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(partition, "profile", lambda *arguments, **options: seen.append((arguments[-1], options)))
    run = pipeline(tmp_path, devices=4, data_parallel=2, shards=4, batch_size=32)
    profile_config(run.config, run.facts)
    ((batch, options),) = seen
    assert {x.shape[0] for x in batch.values()} == {16}
    assert options["shards"] == 2


def test_a_run_without_a_pipeline_has_none(tmp_path):
    run = settled(pipeline(tmp_path, engine="sequential", devices=1, partition="even"), {})
    assert run.partition is None
    assert partition_notes(run) == {}


def test_the_memory_of_the_device_is_respected(tmp_path, measured, monkeypatch):
    run = pipeline(tmp_path)

    class Device:
        limit = 10**9

        def memory_stats(self):
            return {"bytes_limit": self.limit}

    monkeypatch.setattr(partition.jax, "local_devices", lambda: [Device()])
    assert decide_partition(run) == (3, 1)
    Device.limit = 1000
    with pytest.raises(ConfigError, match="is 'auto', but no partition over 2 stages fits 1000 bytes a device"):
        decide_partition(run)
