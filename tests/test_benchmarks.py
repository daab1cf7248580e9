"""The benchmarks run and leave a record; what they measure is not tested."""

import itertools
import json
import math
import multiprocessing
import os
import subprocess
import sys
import types
from unittest import mock

import pytest
import quick
from quick import ROOT

run = quick.run


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
    assert found["ratio_of_component_1"] == pytest.approx(1 / stages, rel=0.15)  # with its local loss, at zero bubble
    assert len(found["components"]) == stages
    assert found["device"] == max(found["components"])  # whichever is highest, each device has room for it
    assert found["ratio"] == found["device"] / found["one_f_one_b"] >= found["ratio_of_component_1"]
    assert found["boundary"] < 0.1 * found["device"]
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


@pytest.mark.slow
def test_quick_speed_has_every_arm_with_its_memory(run):
    record, said = run("speed")
    (result,) = record["results"]
    assert result["case"] in said
    assert result["ratio"]["backprop"] == 1
    paper, pooled, _ = (result["arms"][name] for name in ("AL, paper's bridges", "AL, pooled bridges", "backprop"))
    assert min(paper["images_per_second"], paper["of_peak"], *paper["memory"].values()) > 0
    assert pooled["macs"] < paper["macs"]


@pytest.mark.slow
def test_quick_measured_memory_stands_beside_the_prediction(tmp_path):
    file = tmp_path / "record.json"
    command = [sys.executable, "-m", "benchmarks.memory_measured", "--quick", "--arms", "remat$", "--json", str(file)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    arms = json.loads(file.read_text())["arms"]
    assert list(arms) == ["end to end", "end to end, remat"]
    assert all(name in done.stdout for name in arms)
    assert all(arm["ms_per_update"] > 0 and arm["peak"] is None for arm in arms.values())  # of a CPU's


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--json", "/dev/null/record.json"],
            "cannot write /dev/null/record.json (File exists): choose another place",
        ),
        (["--arms", "("], "it is '(', which is no regular expression"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_measured(arguments, said, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import timing

    monkeypatch.setattr(timing, "program", lambda: "benchmark")
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    parser = timing.arguments_of("What it measures.")
    parser.add_argument("--arms", type=timing.pattern)
    with pytest.raises(SystemExit):
        timing.parse(parser, "benchmark")
    assert said in capsys.readouterr().err


def test_of_disturbed_measurements_the_quietest_counts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import quiet

    busy, clock = iter([0, 1.5, 2, 2.9, 4, 5.8]), itertools.count()  # before and after each, which takes a second
    monkeypatch.setattr(quiet, "busy_seconds", lambda: next(busy))
    monkeypatch.setattr(quiet, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(quiet.Patience, "wait", lambda patience: None)
    samples = iter([quiet.Sample(wall, cpu=0.5) for wall in (1, 2, 3)])
    found = quiet.Patience(100).observed(lambda: next(samples))
    assert (found.wall, found.foreign, found.attempts) == (2, pytest.approx(0.4), 3)


def test_a_process_that_does_not_answer_is_killed(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import workers

    monkeypatch.setattr(workers, "PATIENCE", 0.01)
    worker, group = object.__new__(workers.Worker), object.__new__(workers.Group)
    worker.pipe, _theirs = multiprocessing.Pipe()
    worker.process, group.workers = mock.Mock(), [worker]
    for asked, killed in ((worker, 1), (group, 2)):
        with pytest.raises(SystemExit, match=r"hangs: it has not answered for 0\.01 seconds"):
            asked.answer()
        assert worker.process.kill.call_count == killed


def test_a_process_that_ended_is_told_in_a_sentence_whatever_it_had_read(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import workers

    worker = object.__new__(workers.Worker)
    worker.pipe, theirs = multiprocessing.Pipe()
    worker.ask("train")
    theirs.close()
    for again in (worker.answer, worker.answer, lambda: worker.ask("train")):
        with pytest.raises(SystemExit, match="a process of the benchmark ended"):
            again()
