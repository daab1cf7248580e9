"""Whole runs on a shrunk config: what they leave, and that stopping, moving and resuming change nothing."""

import json
import re
import subprocess

import jax
import numpy as np
import pytest

import al_jax as al
from al_jax.data import load as load_data
from al_jax.training import load, loop, partition, source, summary
from al_jax.training.checkpoint import Checkpoints
from al_jax.training.config import default_config
from al_jax.training.digest import digest
from al_jax.training.errors import ConfigError, RunError
from al_jax.training.records import read_rows
from al_jax.training.run import set_up, stored_shapes
from al_jax.training.workdir import claimed, new_workdir

SMALL = {"components": 3, "width": 12, "code": 8, "epochs": 2, "batch_size": 48, "updates_per_call": 12, "exact": True}
SUMMARY_KEYS = {"test_accuracy", "train_accuracy", "accuracy_by_depth", "updates", "examples_per_second"} | {
    "wall_seconds",
    "parameters",
    "effective_parameters",
    "digest",
    "config",
}


def small(**fields):
    return default_config(**(SMALL | fields))


def train(workdir, interrupted=lambda: False, **fields):
    run = set_up(small(**fields), workdir)
    with claimed(run.config, workdir):
        return run, loop.Training(run, interrupted).finish()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The sequential run that others are compared with."""
    run, finished = train(tmp_path_factory.mktemp("undisturbed"))
    reached = summary.summarise(run, finished)
    summary.write_summary(run, reached)
    return run, finished, reached


def test_a_call_counts_as_done_when_what_it_measured_is_there(tmp_path, monkeypatch):
    """It returns before: among several processes the first one to compile would not wait for the others' compilers."""
    events, read = [], loop.jax.device_get
    monkeypatch.setattr(loop.jax, "device_get", lambda metrics: events.append("read") or read(metrics))
    run = set_up(small(epochs=1), tmp_path)
    loop.Training(run, alive=lambda: events.append("alive")).finish()
    assert events[:2] == ["read", "alive"]


def test_a_run_leaves_everything_the_contract_names(undisturbed):
    run, _, reached = undisturbed
    assert set(json.loads((run.workdir / "summary.json").read_text())) >= SUMMARY_KEYS
    assert reached["updates"] == 2 * (1437 // 48)
    assert len(reached["accuracy_by_depth"]) == 3
    assert "partition" not in reached
    for name in ("losses.png", "accuracy.png", "schedule.png"):
        assert (run.workdir / name).read_bytes().startswith(b"\x89PNG")
    assert list((run.workdir / "tensorboard").iterdir())
    rows = read_rows(run.workdir)
    assert [row["epoch"] for row in rows if "epoch" in row] == [1, 2]
    assert {"component_1/associated", "component_3/autoencoder"} <= set(rows[0])


@pytest.mark.slow
def test_another_engine_writes_the_same_digest_and_the_same_rows(undisturbed, tmp_path):
    reference, finished, _ = undisturbed
    run, pipelined = train(tmp_path, engine="pipelined", devices=3)
    assert summary.summarise(run, pipelined)["partition"] == [1, 1, 1]
    assert digest(pipelined.components) == digest(finished.components)
    for row, other in zip(read_rows(reference.workdir), read_rows(run.workdir), strict=True):
        assert row.keys() == other.keys()
        np.testing.assert_allclose(*(np.hstack(list(values.values())) for values in (row, other)), rtol=1e-5)


@pytest.mark.slow
def test_stopped_after_any_call_and_resumed_elsewhere_it_ends_in_the_same_digest(undisturbed, tmp_path):
    with pytest.raises(loop.Stopped, match="stopped after update 12 of 58 and saved"):
        train(tmp_path, lambda: True)
    run, resumed = train(tmp_path, engine="pipelined", devices=3)
    assert_the_same_run(undisturbed, run, resumed)


@pytest.mark.slow
def test_a_measured_partition_is_decided_once_and_changes_no_bit(undisturbed, tmp_path, monkeypatch):
    measured = []

    def measure(run, decide=partition.decide_partition):
        measured.append(decide(run))
        return 1, 2  # not the even one, whatever the clock says

    monkeypatch.setattr(partition, "decide_partition", measure)
    fields = {"engine": "pipelined", "devices": 2, "partition": "auto"}
    with pytest.raises(loop.Stopped, match="stopped after update 12 of 58 and saved"):
        train(tmp_path, lambda: True, **fields)
    stopped = Checkpoints(tmp_path, keep=3).restore(stored_shapes(small(), undisturbed[0].shapes))
    assert stopped.notes["partition"] == [1, 2]
    assert partition.settled(set_up(small(**fields), tmp_path), stopped.notes).partition == (1, 2)
    assert measured in ([(1, 2)], [(2, 1)])
    run, resumed = train(tmp_path)
    assert_the_same_run(undisturbed, run, resumed)


def assert_the_same_run(undisturbed, run, resumed):
    reference, finished, _ = undisturbed
    assert digest(resumed.components) == digest(finished.components)
    updates = [row["update"] for row in read_rows(run.workdir)]
    assert updates == sorted(updates)
    assert len(updates) == len(read_rows(reference.workdir))


@pytest.mark.slow
def test_several_seeds_are_the_separate_runs(undisturbed, tmp_path):
    run, finished = train(tmp_path / "both", num_seeds=2)
    _, other = train(tmp_path / "other", seed=1)
    reached = summary.summarise(run, finished)
    assert [entry["digest"] for entry in reached["seeds"]] == [undisturbed[2]["digest"], digest(other.components)]
    assert reached["test_accuracy"] == pytest.approx(np.mean([entry["test_accuracy"] for entry in reached["seeds"]]))
    with pytest.raises(loop.Stopped):
        train(tmp_path / "stopped", lambda: True, num_seeds=2)
    _, resumed = train(tmp_path / "stopped", num_seeds=2)
    assert digest(resumed.components) == digest(finished.components)


def test_a_finished_run_is_evaluated_and_loaded_again(undisturbed):
    run, finished, reached = undisturbed
    again = load.finished(load.load_run(run.workdir))
    assert digest(again.components) == digest(finished.components)
    assert summary.summarise(load.load_run(run.workdir), again)["test_accuracy"] == reached["test_accuracy"]


def test_an_evaluation_refuses_other_values_than_it_was_trained_with(undisturbed):
    run, *_ = undisturbed
    load.load_run(run.workdir, asked={"evaluate": True, "epochs": 99, "rule": run.config.rule})
    with pytest.raises(RunError, match=r"was trained with seed=\d+, not 77: leave config\.seed out"):
        load.load_run(run.workdir, asked={"seed": 77})
    load.load_run(run.workdir, chosen=default_config(**{**run.config.to_dict(), "epochs": 99}))
    other = default_config(**{**run.config.to_dict(), "width": 77})
    with pytest.raises(RunError, match=r"than --config gives \(width: \d+ -> 77\): leave --config out"):
        load.load_run(run.workdir, chosen=other)


def test_a_finished_run_is_loaded_without_its_data(undisturbed, monkeypatch):
    run, _, reached = undisturbed
    monkeypatch.setattr("al_jax.training.run.load", None)
    network, components = al.load(run.workdir)
    test = load_data("digits").test
    scores = network.predict([part.variables for part in components], test.image)
    assert np.mean(np.argmax(scores, axis=1) == test.label) == pytest.approx(reached["test_accuracy"])


def test_a_run_is_loaded_from_a_folder():
    with pytest.raises(RunError, match=r"al\.load takes the workdir of a run, as 'runs/digits', not 3"):
        al.load(3)
    with pytest.raises(RunError, match=r"the workdir of a run: al_jax\.data\.load reads data sets, such as mnist"):
        al.load("mnist")


def test_another_configuration_is_refused_with_the_difference(undisturbed):
    with (
        pytest.raises(ConfigError, match=r"learning_rate: 0.001 -> 0.5"),
        claimed(small(learning_rate=0.5), undisturbed[0].workdir),
    ):
        pass


def test_a_second_process_is_kept_out_of_a_workdir(tmp_path):
    with claimed(small(), tmp_path), pytest.raises(RunError, match="another process"), claimed(small(), tmp_path):
        pass


def test_every_new_run_has_a_folder_of_its_own(tmp_path):
    assert len({new_workdir(tmp_path, "digits") for _ in range(4)}) == 4


def test_fewer_epochs_than_done_are_refused(undisturbed):
    with pytest.raises(RunError, match="at least as many epochs"):
        train(undisturbed[0].workdir, epochs=1)


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(undisturbed, tmp_path, caplog):
    run, _ = train(tmp_path, checkpoint_seconds=0)
    newest, before, *_ = Checkpoints(tmp_path, keep=3).steps()
    next((tmp_path / "checkpoints" / str(newest)).rglob("_METADATA")).write_bytes(b"damaged")
    resumed = loop.Training(run)
    assert f"Checkpoint {newest} is damaged" in caplog.text
    assert digest(resumed.finish().components) == digest(undisturbed[1].components)
    assert before < newest


def test_nan_stops_the_run_names_the_component_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(RunError, match=r"component \d is nan at update \d+"):
        train(tmp_path, learning_rate=1e38, optimizer="sgd", checkpoint_seconds=0, updates_per_call=1)
    for step in (checkpoints := Checkpoints(tmp_path, keep=3)).steps():
        leaves, _ = checkpoints._read(step)
        assert all(np.isfinite(leaf).all() for leaf in leaves.values())


def test_a_run_can_start_from_another_and_freeze_what_it_took(undisturbed, tmp_path):
    run, finished, _ = undisturbed
    _, warm = train(tmp_path, warm_start=str(run.workdir), freeze="1,2", epochs=1, seed=5)
    for index, part in enumerate(warm.components):
        same = jax.tree.map(np.array_equal, part.params, finished.components[index].params)
        assert all(jax.tree.leaves(same)) == (index < 2)


def test_a_warm_start_that_does_not_fit_is_refused(undisturbed, tmp_path):
    with pytest.raises(RunError, match=r"component 1 of config\.warm_start"):
        train(tmp_path, warm_start=str(undisturbed[0].workdir), width=13)


def test_a_run_knows_the_commit_of_its_code_where_that_is_in_a_repository(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True)

    module = tmp_path / "source.py"
    module.write_text("")
    monkeypatch.setattr(source, "__file__", str(module))
    assert source.commit() == ""
    git("init", "-q")
    assert source.commit() == ""  # the repository does not have it
    git("add", "source.py")
    git("commit", "-qm", "all")
    commit = source.commit()
    assert re.fullmatch("[0-9a-f]{40}", commit)
    module.write_text("changed = True")
    assert source.commit() == f"{commit}-dirty"
