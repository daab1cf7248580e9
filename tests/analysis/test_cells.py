"""Runs that work through a list, and a search that sees no test image."""

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest
from processes import BOUND

from al_jax.analysis import cells, search, tasks
from al_jax.analysis.published import ARMS, TABLES, name_of, with_variants
from al_jax.training.config import default_config
from al_jax.training.errors import ConfigError, RunError
from al_jax.training.validation import validate

ROOT = Path(__file__).parents[2]
no_process_stays = processes.no_process_stays

TINY = """from al_jax.training.config import default_config
def get_config(variant=""):
    return default_config(width=8, code=8, epochs=1, components=1)
"""


def given(folder, seeds=2, minutes=float("inf"), jobs=1, together=False):
    folders = {"runs": folder / "runs", "results": folder / "results"}
    return argparse.Namespace(seeds=seeds, minutes=minutes, jobs=jobs, together=together, **folders)


@pytest.mark.slow
def test_a_stopped_list_continues_and_ends_in_a_result(tmp_path, capsys):
    config, path = tmp_path / "tiny.py", tmp_path / "results" / "tiny.json"
    config.write_text(TINY)
    with pytest.raises(tasks.Stopped):
        cells.work([str(config)], [], given(tmp_path, minutes=0.0))
    assert not path.exists()
    cells.work([str(config)], ["--config.keep=1"], given(tmp_path, seeds=1))
    (first,) = json.loads(path.read_text())["runs"]
    assert first["config"]["width"] == 8

    # Elsewhere, where its run is not, a result of fewer seeds is completed by the missing ones alone.
    del first["analysis"]
    del first["config"]["bridge_hidden"]  # as if it had been trained before there was such a field
    path.write_text(json.dumps({"name": "tiny", "runs": [first]}))
    elsewhere = given(tmp_path, seeds=3, together=True)
    elsewhere.runs = tmp_path / "elsewhere"
    cells.work([str(config)], [], elsewhere)
    assert "has no analysis of seed 0, whose run is not in" in capsys.readouterr().out
    assert [run.name for run in elsewhere.runs.iterdir()] == ["tiny-1-2"]
    kept, added = json.loads(path.read_text())["runs"]
    assert kept == first
    assert [(entry["seed"], "distances" in entry["analysis"]) for entry in added["seeds"]] == [(1, True), (2, True)]

    # Where its run still is, what it lacked is measured.
    cells.work([str(config)], [], given(tmp_path, seeds=3))
    inspected, other = json.loads(path.read_text())["runs"]
    assert (inspected["digest"], other) == (first["digest"], added)
    assert "distances" in inspected["analysis"]
    assert [run.name for run in (tmp_path / "runs").iterdir()] == ["tiny-0"]


def test_seeds_that_do_not_follow_each_other_have_runs_of_their_own(tmp_path):
    def runs(seeds, together):
        return [(task.workdir.name, task.num_seeds) for task in cells.tasks_of("tiny.py", tmp_path, seeds, together)]

    assert runs([1, 2, 3], True) == [("tiny-1-3", 3)]
    assert runs([0, 2], True) == runs([0, 2], False) == [("tiny-0", 1), ("tiny-2", 1)]
    assert runs([2], True) == runs([2], False)


@pytest.mark.slow
def test_a_list_that_is_asked_to_stop_asks_its_run_to_save(tmp_path):
    config = tmp_path / "tiny.py"
    config.write_text(TINY.replace("epochs=1", "epochs=100000, eval_every=100000, checkpoint_seconds=0.0"))
    command = [sys.executable, "-m", "al_jax.analysis.cells", str(config), "--runs", str(tmp_path / "runs")]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said)
    processes.STARTED.append(process)
    while not list((tmp_path / "runs/tiny-0/checkpoints").glob("*")):
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=BOUND)
    said = (tmp_path / "said").read_text()
    assert "saved" in said
    assert "stopped; the same command continues" in said


def test_a_list_that_is_asked_to_stop_while_it_starts_a_run_stops_that_one_too(tmp_path, monkeypatch):
    def popen(command, **named):
        begun = begin([sys.executable, "-c", "import time; time.sleep(600)"], **named)
        processes.STARTED.append(begun)
        signal.raise_signal(signal.SIGTERM)
        return begun

    begin = subprocess.Popen
    monkeypatch.setattr(tasks.subprocess, "Popen", popen)
    (tmp_path / "tiny.py").write_text(TINY)
    folders = [f"--{name}={tmp_path / name}" for name in ("runs", "results")]
    monkeypatch.setattr(sys, "argv", ["cells", str(tmp_path / "tiny.py"), *folders])
    with pytest.raises(tasks.Stopped):
        cells.main()
    assert [process.returncode for process in processes.STARTED] == [-signal.SIGTERM]


@pytest.mark.parametrize("found", ["results/tiny.json", "runs/tiny-0/summary.json"])
def test_what_was_trained_before_the_config_changed_is_refused(tmp_path, found):
    config, path = tmp_path / "tiny.py", tmp_path / found
    config.write_text(TINY)
    trained = {"config": {"seed": 0, "width": 4, "code": 8, "epochs": 1, "components": 1, "field_of_old": 1}}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"runs": [trained]} if path.name == "tiny.json" else trained))
    with pytest.raises(
        RunError, match=r"tiny.py has changed since runs for .*tiny.json were trained \(width: 4 -> 8\)"
    ):
        cells.work([str(config)], [], given(tmp_path, seeds=1))


def test_a_field_that_did_not_exist_yet_had_its_default(tmp_path):
    config, path = tmp_path / "tiny.py", tmp_path / "results" / "tiny.json"
    config.write_text(TINY.replace("width=8", "width=8, bridge_hidden='elu'"))
    path.parent.mkdir()
    path.write_text(
        json.dumps({"runs": [{"config": {"seed": 0, "width": 8, "code": 8, "epochs": 1, "components": 1}}]})
    )
    with pytest.raises(RunError, match=r"\(bridge_hidden: 'sigmoid' -> 'elu'\)"):
        cells.work([str(config)], [], given(tmp_path, seeds=1))


def spec_of(name):
    """The config that a result has its name from."""
    path = max(
        (path for path in (ROOT / "configs").glob("*.py") if name.startswith(path.stem)),
        key=lambda path: len(path.stem),
    )
    with pytest.raises(ConfigError) as refused:
        search.read_config(f"{path}:?", {})
    variants = str(refused.value).partition("there are ")[2].split(", ")
    found, rest = [], name.removeprefix(path.stem)
    while rest:
        found.append(max((variant for variant in variants if f"{rest}_".startswith(f"_{variant}_")), key=len))
        rest = rest.removeprefix(f"_{found[-1]}")
    return f"{path}:{','.join(found)}" if found else str(path)


def test_the_committed_results_are_those_of_their_configs(tmp_path):
    of_no_variant = {"depth", "digits_subtract_mean"}
    names = sorted({path.stem for path in (ROOT / "results").glob("*.json")} - of_no_variant)
    specs = [spec_of(name) for name in names]
    assert [name_of(spec) for spec in specs] == names
    elsewhere = given(tmp_path, seeds=1)
    elsewhere.results = ROOT / "results"
    cells.work(specs, [], elsewhere)


@pytest.mark.parametrize("path", sorted((ROOT / "results" / "ablations").glob("*.json")), ids=lambda path: path.stem)
def test_ablations_are_still_configs_that_can_run(path):
    for run in json.loads(path.read_text())["runs"]:
        known = {name: value for name, value in run["config"].items() if name in default_config()}
        validate(default_config(**known))


def test_a_run_that_fails_does_not_hold_up_the_others(tmp_path, monkeypatch):
    begun = []

    class Ended:
        returncode = 1

        def __init__(self, command, **_):
            begun.append(command[-1].rpartition("/")[2])

        def poll(self):
            return self.returncode

    monkeypatch.setattr(tasks.subprocess, "Popen", Ended)
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(TINY)
    configs = [str(tmp_path / f"{name}.py") for name in ("one", "two")]
    with pytest.raises(RunError, match=r"one-0 with exit status 1, .*two-0 with exit status 1"):
        cells.work(configs, [], given(tmp_path, seeds=1))
    assert begun == ["one-0", "two-0"]
    with pytest.raises(ConfigError, match=r"there is no config file nix\.py"):
        cells.work([configs[0], "nix.py"], [], given(tmp_path, seeds=1))
    assert len(begun) == 2


def test_a_list_takes_no_field_that_changes_its_results(tmp_path):
    with pytest.raises(ConfigError, match="only fields that change no result"):
        cells.work(["configs/digits.py"], ["--config.epochs=1"], given(tmp_path))


def test_every_cell_of_the_tables_is_a_config_that_can_run():
    names = cells.all_cells()
    rows = [row for _, rows in TABLES.values() for row in rows]
    expected = {with_variants(row.config, *arm) for row in rows for arm in ARMS.values() if row.has(arm)}
    assert {"cifar_resnet:usual_backprop", "cifar_cnn:contrast"} < expected
    assert "cifar_cnn:usual_backprop" not in expected
    expected |= {"mnist_mlp:three"}
    expected |= {row.difference for row in rows if row.difference}
    expected |= {f"{row.config}:smoke{arm}" for row in rows if ":" not in row.config for arm in ("", ",backprop")}
    assert len(names) == len(set(names))
    assert {name.removeprefix("configs/").replace(".py", "") for name in names} == expected
    for name in names:
        validate(search.read_config(name, {}))


@pytest.mark.slow
def test_a_search_tries_both_rules_with_the_same_settings_and_continues(tmp_path):
    fields = {"validation": "200", "epochs": "1", "width": "8", "code": "8", "components": "1"}
    space = {"learning_rate": "log:1e-4:1e-1", "bridge_hidden": "elu"}
    arguments = ("configs/digits.py", space, fields, 0, tmp_path / "found.json")

    def run(trials):
        spec, *rest = arguments
        return search.search(spec, trials, *rest)

    first = run(1)
    found = run(2)
    assert found["trials"][:2] == first["trials"]
    assert [entry["rule"] for entry in found["trials"]] == ["associated", "backprop"] * 2
    rates = [entry["learning_rate"] for entry in found["trials"]]
    assert rates[0] == rates[1] != rates[2] == rates[3]
    assert ["bridge_hidden" in entry for entry in found["trials"]] == [True, False] * 2  # backprop has no such choice
    assert not any("test" in name for entry in found["trials"] for name in entry)
    assert set(search.best(found)) == {"associated", "backprop"}
    with pytest.raises(RunError, match="holds another search"):
        search.search("configs/digits.py", 1, {"l2": "0,1"}, fields, 0, tmp_path / "found.json")


@pytest.mark.slow
def test_a_trial_that_diverges_is_recorded_and_does_not_end_the_search(tmp_path):
    fields = {"validation": "200", "epochs": "1", "optimizer": "sgd", "components": "1"}
    found = search.search("configs/digits.py", 1, {"learning_rate": "1e30"}, fields, 0, tmp_path / "found.json")
    assert any("diverged" in entry and entry["validation_accuracy"] == 0 for entry in found["trials"])
    assert len(found["trials"]) == 2


def test_a_search_that_would_end_in_a_refusal_does_not_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "validation_accuracy", lambda config: pytest.fail("a trial was trained"))
    fields = {"validation": "200", "shards": "2"}
    with pytest.raises(ConfigError, match="batch_size is 33: it must be divisible"):
        search.search("configs/digits.py", 1, {"batch_size": "33"}, fields, 0, tmp_path / "found.json")


def test_a_space_is_refused_in_one_sentence():
    with pytest.raises(ConfigError, match=r"no field config\.lr"):
        search.draw({"lr": "1"}, 0, 0)
    for field, values in {"learning_rate": "log:low:high", "network": "log:1:2", "width": "log:0:3"}.items():
        with pytest.raises(ConfigError, match="give log:LOW:HIGH of numbers above 0, or values"):
            search.draw({field: values}, 0, 0)
    with pytest.raises(ConfigError, match="it is the same in all trials"):
        search.draw({"epochs": "1,2"}, 0, 0)
    assert search.draw({"epsilon_hat": "true,true", "width": "log:16:64"}, 0, 0)["epsilon_hat"] is True
    assert search.draw({"epsilon_hat": "false"}, 0, 0) == {"epsilon_hat": False}
    assert isinstance(search.draw({"width": "log:16:64"}, 0, 0)["width"], int)
    with pytest.raises(ConfigError, match="needs validation images"):
        search.validation_accuracy(search.read_config("configs/digits.py", {}))
