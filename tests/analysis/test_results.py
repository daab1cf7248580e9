"""Result files hold what was measured, and nothing of the machine's folders."""

import json

import pytest

from al_jax.analysis import tables
from al_jax.analysis.results import CIFAR_10_NOTE, record, table
from al_jax.training.config import default_config
from al_jax.training.errors import RunError


def finished_run(folder, seed, accuracy, **fields):
    folder.mkdir()
    config = default_config(seed=seed, data_dir="/somewhere/on/this/machine", **fields).to_dict()
    summary = {"test_accuracy": accuracy, "wall_seconds": 120.0, "epochs": 60, "config": config}
    summary |= {"processor": "a processor", "backend": "cpu", "digest": "new"}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_seeds_become_mean_and_standard_deviation(tmp_path):
    runs = [finished_run(tmp_path / str(seed), seed, accuracy) for seed, accuracy in enumerate((0.97, 0.98, 0.99))]
    record(tmp_path / "digits.json", runs)
    assert "somewhere" not in (tmp_path / "digits.json").read_text()
    row = table([tmp_path / "digits.json"]).splitlines()[-1]
    assert row == "| digits | 98.00 ± 1.00 % | – | 0, 1, 2 | 60 | 2.0 min | a processor |"


def test_files_of_another_kind_have_no_row(tmp_path):
    record(tmp_path / "digits.json", [finished_run(tmp_path / "run", 0, 0.98)])
    (tmp_path / "depth.json").write_text(json.dumps({"runs": [{"rule": "backprop", "depth": 2, "test_accuracy": 0.9}]}))
    assert table([tmp_path / "depth.json", tmp_path / "digits.json"]) == table([tmp_path / "digits.json"])
    with pytest.raises(RunError, match=r"no results of a config in .*depth\.json: give files that record wrote"):
        table([tmp_path / "depth.json"])


@pytest.mark.parametrize("content", [{"networks": {}}, {"runs": {}}, {"runs": []}, {"runs": [{"depth": 2}]}])
def test_a_table_says_which_file_is_of_another_kind(content, tmp_path):
    (tmp_path / "mnist_mlp.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"mnist_mlp\.json (is another kind of file|holds no results of a config)"):
        tables.render(tmp_path)


def test_several_seeds_of_one_run_count_each(tmp_path):
    run = finished_run(tmp_path / "run", 0, 0.98, num_seeds=2)
    summary = json.loads((run / "summary.json").read_text())
    summary["seeds"] = [{"seed": 0, "test_accuracy": 0.97}, {"seed": 1, "test_accuracy": 0.99}]
    (run / "summary.json").write_text(json.dumps(summary))
    record(tmp_path / "digits.json", [run])
    assert "| digits | 98.00 ± 1.41 % | – | 0, 1 | 60 | 1.0 min |" in table([tmp_path / "digits.json"])


def test_runs_that_differ_in_more_than_the_seed_are_refused(tmp_path):
    runs = [finished_run(tmp_path / "a", 0, 0.9), finished_run(tmp_path / "b", 1, 0.9, epochs=7)]
    with pytest.raises(RunError, match=r"differ in more than their seeds, in epochs \(60, 7\): record"):
        record(tmp_path / "x.json", runs)


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"there is no .*summary\.json"):
        record(tmp_path / "x.json", [tmp_path / "nothing"])


def test_an_analysis_of_another_state_is_refused(tmp_path):
    run = finished_run(tmp_path / "run", 0, 0.98)
    for digest in ("new", "old"):
        (run / "analysis.json").write_text(json.dumps({"seeds": [{"digest": digest, "codes": []}]}))
        if digest == "new":
            record(tmp_path / "digits.json", [run])
            assert json.loads((tmp_path / "digits.json").read_text())["runs"][0]["analysis"] == {"codes": []}
        else:
            with pytest.raises(RunError, match="was trained on since its analysis"):
                record(tmp_path / "digits.json", [run])


def test_a_row_says_of_how_many_images_a_run_saw(tmp_path):
    record(tmp_path / "x.json", [finished_run(tmp_path / "short", 0, 0.9, dataset="cifar10", examples=10_000)])
    *_, row, _, note = table([tmp_path / "x.json"]).splitlines()
    assert "| 60 of 10,000 images |" in row
    assert note == CIFAR_10_NOTE


def test_a_warm_start_is_part_of_a_result_and_its_folder_is_not(tmp_path):
    runs = [
        finished_run(tmp_path / "cold", 0, 0.9),
        finished_run(tmp_path / "warm", 1, 0.9, warm_start="/somewhere/on/this/machine/digits-0"),
    ]
    record(tmp_path / "x.json", runs[1:])
    assert json.loads((tmp_path / "x.json").read_text())["runs"][0]["config"]["warm_start"] == "digits-0"
    with pytest.raises(RunError, match="differ in more than their seeds"):
        record(tmp_path / "x.json", runs)
