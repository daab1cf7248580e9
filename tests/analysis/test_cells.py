"""Runs that work through a list, and a search that sees no test image."""

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from al_jax.analysis import cells, machine_tables, search
from al_jax.analysis.published import ARMS, TABLES, name_of
from al_jax.training.errors import ConfigError, RunError
from al_jax.training.validation import validate

ROOT = Path(__file__).parents[2]

TINY = """from al_jax.training.config import default_config
def get_config(variant=""):
    return default_config(width=8, code=8, epochs=1, components=1)
"""


def given(folder, seeds=2, minutes=float("inf"), jobs=1):
    folders = {"runs": folder / "runs", "results": folder / "results"}
    return argparse.Namespace(seeds=seeds, minutes=minutes, jobs=jobs, together=False, **folders)


@pytest.mark.slow
def test_a_stopped_list_continues_and_ends_in_a_result(tmp_path):
    config, path = tmp_path / "tiny.py", tmp_path / "results" / "tiny.json"
    config.write_text(TINY)
    with pytest.raises(cells.Stopped):
        cells.work([str(config)], [], given(tmp_path, minutes=0.0))
    assert not path.exists()
    for seeds in (1, 2):  # a result of fewer seeds is completed
        cells.work([str(config)], ["--config.keep=1"], given(tmp_path, seeds, jobs=2))
        runs = json.loads(path.read_text())["runs"]
        assert [run["config"]["seed"] for run in runs] == list(range(seeds))
        assert all(run["config"]["width"] == 8 and "distances" in run["analysis"] for run in runs)
    elsewhere = given(tmp_path)
    elsewhere.runs = tmp_path / "a folder without runs"
    cells.work([str(config)], [], elsewhere)  # nothing is left to do
    assert not elsewhere.runs.exists()


@pytest.mark.slow
def test_a_list_that_is_asked_to_stop_asks_its_run_to_save(tmp_path):
    config = tmp_path / "tiny.py"
    config.write_text(TINY.replace("epochs=1", "epochs=100000, eval_every=100000, checkpoint_seconds=0.0"))
    command = [sys.executable, "-m", "al_jax.analysis.cells", str(config), "--runs", str(tmp_path / "runs")]
    with (tmp_path / "said").open("w") as said, subprocess.Popen(command, cwd=ROOT, stdout=said) as process:
        while not list((tmp_path / "runs/tiny-0/checkpoints").glob("*")):
            assert process.poll() is None
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)
    said = (tmp_path / "said").read_text()
    assert "saved" in said
    assert "stopped; the same command continues" in said


@pytest.mark.parametrize("found", ["results/tiny.json", "runs/tiny-0/summary.json"])
def test_what_was_trained_before_the_config_changed_is_refused(tmp_path, found):
    config, path = tmp_path / "tiny.py", tmp_path / found
    config.write_text(TINY)
    trained = {"config": {"seed": 0, "width": 4, "code": 8, "epochs": 1, "field_of_old": 1}}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"runs": [trained]} if path.name == "tiny.json" else trained))
    with pytest.raises(
        RunError, match=r"tiny.py has changed since runs for .*tiny.json were trained \(width: 4 -> 8\)"
    ):
        cells.work([str(config)], [], given(tmp_path, seeds=1))


def test_the_committed_results_are_those_of_their_configs(tmp_path):
    machines = [f"configs/machines.py:{name}" for name in (*machine_tables.TABLE_1, *machine_tables.DIFFERENCE)]
    lenets = [f"configs/machines.py:{name},lenet" for name in machine_tables.LENET]
    names = [*cells.all_cells(), *machines, *lenets]
    names = [
        f"{name}{':' if ':' not in name else ','}{variant}" for name in names for variant in ("", "short", "tuned")
    ]
    names = [name.rstrip(":,") for name in names]
    recorded = [name for name in names if (ROOT / "results" / f"{name_of(name)}.json").exists()]
    assert len(recorded) > 20
    elsewhere = given(tmp_path, seeds=1)
    elsewhere.results = ROOT / "results"
    cells.work([str(ROOT / name) for name in recorded], [], elsewhere)


def test_a_run_that_fails_ends_the_list(tmp_path):
    config = tmp_path / "tiny.py"
    config.write_text(TINY.replace("epochs=1", "epochs=0"))
    with pytest.raises(RunError, match="failed with exit status 1"):
        cells.work([str(config)], [], given(tmp_path))


def test_a_list_takes_no_field_that_changes_its_results(tmp_path):
    with pytest.raises(ConfigError, match="only fields that change no result"):
        cells.work(["configs/digits.py"], ["--config.epochs=1"], given(tmp_path))


def test_every_cell_of_the_tables_is_a_config_that_can_run():
    names = cells.all_cells()
    assert len(names) == len(set(names)) == len(ARMS) * sum(len(rows) for _, rows in TABLES.values())
    for name in names:
        validate(search.read_config(name, {}))


@pytest.mark.slow
def test_a_search_tries_both_rules_with_the_same_settings_and_continues(tmp_path):
    fields = {"validation": "200", "epochs": "1", "width": "8", "code": "8", "components": "1"}
    arguments = ("configs/digits.py", {"learning_rate": "log:1e-4:1e-1"}, fields, 0, tmp_path / "found.json")

    def run(trials):
        spec, *rest = arguments
        return search.search(spec, trials, *rest)

    first = run(1)
    found = run(2)
    assert found["trials"][:2] == first["trials"]
    assert [entry["rule"] for entry in found["trials"]] == ["associated", "backprop"] * 2
    rates = [entry["learning_rate"] for entry in found["trials"]]
    assert rates[0] == rates[1] != rates[2] == rates[3]
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


def test_a_space_is_refused_in_one_sentence():
    with pytest.raises(ConfigError, match=r"no field config\.lr"):
        search.draw({"lr": "1"}, 0, 0)
    with pytest.raises(ConfigError, match="give log:LOW:HIGH or values"):
        search.draw({"learning_rate": "log:low:high"}, 0, 0)
    assert search.draw({"epsilon_hat": "true,true", "width": "log:16:64"}, 0, 0)["epsilon_hat"] is True
    assert search.draw({"epsilon_hat": "false"}, 0, 0) == {"epsilon_hat": False}
    assert isinstance(search.draw({"width": "log:16:64"}, 0, 0)["width"], int)
    with pytest.raises(ConfigError, match="needs validation images"):
        search.validation_accuracy(search.read_config("configs/digits.py", {}))
