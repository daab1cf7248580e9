"""The benchmarks run and leave a record; what they measure is not tested."""

import json
import math
import runpy
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`python -m benchmarks.NAME --quick --json FILE` as a function in this process: its record and what it prints."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr("benchmarks.timing.one_core", lambda: None)  # this process has more to do
    file = tmp_path / "record.json"

    def run(name):
        monkeypatch.setattr(sys, "argv", [name, "--quick", "--json", str(file)])
        # The loop that is written by hand leaves promotions to JAX.
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)
        record = json.loads(file.read_text())
        assert record["command"] == f"python -m benchmarks.{name} --quick --json {file}"
        assert {"processor", "cores", "pinned"} <= record["hardware"].keys()
        assert {"python", "jax", "jaxlib"} <= record["versions"].keys()
        return record, capsys.readouterr().out

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ratios"),
    [
        ("sequential", ("ratio", "cpu_ratio")),
        ("overhead", ("overhead", "overhead_cpu", "over_one_device")),
        ("machines", ("ratio", "cpu_ratio")),
    ],
)
def test_quick_times_are_finite(run, name, ratios):
    record, said = run(name)
    for result in record["results"]:
        assert result["case"] in said
        for kind in ratios:
            assert all(math.isfinite(value) for value in result[kind].values())
        for arm in result["arms"].values():
            assert len(arm["repetitions"]) == record["rounds"]
            assert 0 < arm["min"] <= arm["ms_per_update"] <= arm["max"]


def test_quick_padding_is_what_the_stages_leave_empty(run):
    record, said = run("padding")
    ((case, found),) = record["networks"].items()
    assert case in said
    own = found["devices"]["2"]
    assert own["slots"] == own["needed"] + own["empty"]
    assert own["empty_share"] == own["empty"] / own["slots"]
    assert 0 <= own["unequal"] <= own["empty"]
    assert "4" not in found["devices"]  # devices for a network of two components


@pytest.mark.slow
def test_quick_accumulation_keeps_the_activations_of_one_micro_batch_in_place_of_p(run):
    record, said = run("accumulation")
    (found,) = record["results"]
    stages = found["stages"]
    assert found["one_f_one_b"] == pytest.approx(stages * found["one_micro_batch_of_its"], rel=0.1)
    assert found["ratio"] == pytest.approx(1 / stages, rel=0.15)  # with its local loss, at zero bubble
    assert found["boundary"] < 0.1 * found["component"]
    assert found["case"] in said


@pytest.mark.slow
def test_quick_memory_is_counted_once_for_every_arm(run):
    record, said = run("memory")
    (entry,) = record["networks"].values()
    arms = entry["arms"]
    assert {name: arm["components"] for name, arm in arms.items()} == {
        "end to end": 1,
        "end to end, remat": 1,
        "greedy + MAN, remat, K = 4, cuts: memory": 4,
    }
    assert all(name in said and min(arm["arguments"], arm["temporaries"]) > 0 for name, arm in arms.items())
    assert arms["end to end, remat"]["temporaries"] < arms["end to end"]["temporaries"]
    again, said = run("memory")
    assert again == record
    assert "GB\n" not in said  # which is said of every arm that is compiled
