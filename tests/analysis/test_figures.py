"""Every figure whose runs are there is drawn in one command, the others are named."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from al_jax.analysis import figures, maps, pictures
from al_jax.analysis.published import TABLES
from al_jax.training.records import read_json, write_json

RESULTS = Path(__file__).parents[2] / "results"


def test_figures_of_what_was_run(tmp_path, monkeypatch, capsys):
    for name in ("mnist_mlp_three", "mnist_mlp_backprop", "depth"):
        shutil.copy(RESULTS / f"{name}.json", tmp_path)
    monkeypatch.setattr(sys, "argv", ["figures", str(tmp_path), "--out", str(tmp_path / "figures")])
    figures.main()
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"depth", *(f"{of}_mnist_mlp_three" for of in ("by_depth", "early_exit", "distances"))}
    missing = capsys.readouterr().out.splitlines()[-1].removeprefix("not run: ").split(", ")
    assert {"cifar_cnn_backprop", "maps_mnist_mlp"} <= set(missing)  # inspected before maps were recorded
    assert "mnist_mlp_three" not in missing


def test_a_short_run_stands_in_for_a_full_one_and_one_without_an_analysis_does_not_count(tmp_path):
    runs = read_json(RESULTS / "mnist_mlp_three.json")["runs"]
    write_json(tmp_path / "cifar_mlp_short.json", {"name": "cifar_mlp_short", "runs": runs})
    bare = [{name: value for name, value in run.items() if name != "analysis"} for run in runs]
    for name in ("cifar_cnn", "cifar_mlp"):  # the one has no short run, the other's short run was inspected
        write_json(tmp_path / f"{name}.json", {"name": name, "runs": bare})
    found, missing = figures.figures(tmp_path)
    assert set(found) == {"by_depth_cifar_mlp", "early_exit_cifar_mlp"}
    assert found["by_depth_cifar_mlp"]().get_suptitle() == "cifar_mlp (short)"
    assert {"cifar_cnn", "cifar_mlp_backprop", "depth"} <= set(missing)
    write_json(tmp_path / "cifar_mlp_short_backprop.json", {"name": "cifar_mlp_short_backprop", "runs": runs})
    found, missing = figures.figures(tmp_path)
    assert {"distances_cifar_mlp"} == set(found) - {"by_depth_cifar_mlp", "early_exit_cifar_mlp"}
    assert "cifar_mlp_backprop" not in missing


def test_maps_of_both_rules_are_drawn_from_results(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(25), 8)
    placed = maps.place({"input": rng.normal(size=(200, 4, 4)), "output": rng.normal(size=(200, 3))}, labels)
    assert len(placed["labels"].split()) == 160  # of the classes that colours tell apart
    runs = read_json(RESULTS / "mnist_mlp_backprop.json")["runs"]
    write_json(tmp_path / "mnist_mlp_backprop.json", {"name": "mnist_mlp_backprop", "runs": runs})
    runs[0]["analysis"]["tsne"] = placed
    for name in ("mnist_mlp", "mnist_mlp_smoke_backprop"):
        write_json(tmp_path / f"{name}.json", {"name": name, "runs": runs})
    found, missing = figures.figures(tmp_path)
    assert "maps_mnist_mlp" not in missing
    assert "maps_cifar_mlp" in missing
    # The full run was inspected too, but has no maps.
    assert found["maps_mnist_mlp_backprop"]().get_suptitle() == "mnist_mlp_backprop (smoke)"
    figure = found["maps_mnist_mlp"]()
    assert figure.get_suptitle() == "mnist_mlp"
    assert [axes.get_title() for axes in figure.axes] == ["input", "output"]
    assert all(len(axes.collections[0].get_offsets()) == 160 for axes in figure.axes)


def test_losses_that_are_no_squares_are_not_drawn_in_units_of_a_variance():
    squares, contrast = (read_json(RESULTS / f"cifar_mlp{arm}_short.json")["runs"] for arm in ("", "_contrast"))
    titles = [pictures.by_depth(runs).axes[1].get_title() for runs in (squares, contrast)]
    assert titles == ["associated loss / variance of the code", "associated loss"]


@pytest.mark.parametrize("table", TABLES)
def test_every_network_of_the_tables_has_its_figures(table):
    _, rows = TABLES[table]
    assert {row.config for row in rows} <= set(figures.PAIRS)
