"""Runs that work through a list, and a search that sees no test image."""

import argparse
import json

import pytest

from al_jax.analysis import cells, search
from al_jax.analysis.published import ARMS, TABLES
from al_jax.training.errors import ConfigError, RunError
from al_jax.training.validation import validate

TINY = ["--config.width=8", "--config.code=8", "--config.epochs=1", "--config.components=1"]


def given(folder, minutes=float("inf")):
    return argparse.Namespace(
        seeds=2, minutes=minutes, together=False, runs=folder / "runs", results=folder / "results"
    )


@pytest.mark.slow
def test_a_stopped_list_continues_and_ends_in_a_result(tmp_path):
    (tmp_path / "results").mkdir()
    assert not cells.work(["configs/digits.py"], TINY, given(tmp_path, minutes=0.0))
    assert not list(tmp_path.glob("results/*"))
    assert cells.work(["configs/digits.py"], TINY, given(tmp_path))
    runs = json.loads((tmp_path / "results/digits.json").read_text())["runs"]
    assert [run["config"]["seed"] for run in runs] == [0, 1]
    assert all(run["config"]["width"] == 8 and "distances" in run["analysis"] for run in runs)
    before = (tmp_path / "results/digits.json").stat().st_mtime_ns
    assert cells.work(["configs/digits.py"], TINY, given(tmp_path))  # nothing is left to do
    assert (tmp_path / "results/digits.json").stat().st_mtime_ns == before


def test_a_run_that_fails_ends_the_list(tmp_path):
    with pytest.raises(RunError, match="failed with exit status 1"):
        cells.work(["configs/digits.py"], ["--config.epochs=0"], given(tmp_path))


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


def test_a_space_is_refused_in_one_sentence():
    with pytest.raises(ConfigError, match=r"no field config\.lr"):
        search.draw({"lr": "1"}, 0, 0)
    with pytest.raises(ConfigError, match="give log:LOW:HIGH or values"):
        search.draw({"learning_rate": "log:low:high"}, 0, 0)
    with pytest.raises(ConfigError, match="needs validation images"):
        search.validation_accuracy(search.read_config("configs/digits.py", {}))
