"""Learning machines under train.py: every experiment learns, stops, resumes and loads like any other run."""

import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

import al_jax as al
from al_jax.data import load as load_data
from al_jax.training import loop, summary
from al_jax.training.config import default_config
from al_jax.training.digest import digest
from al_jax.training.errors import ConfigError
from al_jax.training.load import load_run
from al_jax.training.machines import Features
from al_jax.training.records import read_rows
from al_jax.training.run import set_up
from al_jax.training.workdir import claimed

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "machines.py"
EXPERIMENTS = {
    "baseline": 0.8,
    "decision_linear": 0.6,
    "least_squares": 0.8,
    "target_propagation": 0.5,
    "feedback_alignment": 0.7,
    "local_classifier": 0.6,
    "direct_feedback_alignment": 0.7,
    "neural_decision": 0.5,
}
SMALL = {"updates_per_call": 15, "examples": 960, "epochs": 4, "learning_rate": 1e-2, "schedule": "constant"}
FEW_TREES = {"tree_depth": 5, "members": 4, "batch_size": 32}
SLOW = {"decision_linear": {**FEW_TREES, "tree_cuts": 20}, "neural_decision": FEW_TREES}


def train(workdir, config, interrupted=lambda: False):
    run = set_up(config, workdir)
    with claimed(run.config, workdir):
        return run, loop.Training(run, interrupted).finish()


def shrunk(variant, **fields):
    config = runpy.run_path(str(CONFIG))["get_config"](f"{variant},smoke")
    config.update({**SMALL, **SLOW.get(variant, {}), **fields})
    return config


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in EXPERIMENTS]
)
def test_every_experiment_learns_digits(variant, tmp_path):
    run, finished = train(tmp_path, shrunk(variant))
    reached = summary.summarise(run, finished)
    assert reached["test_accuracy"] > EXPERIMENTS[variant]
    assert reached["parameters"] > 0


def test_evolution_learns_digits_and_resumes(tmp_path):
    config = default_config(rule="evolution", units="32", learning_rate=1e-2, epochs=5)
    with pytest.raises(loop.Stopped):
        train(tmp_path, config, lambda: True)
    run, finished = train(tmp_path, config)
    assert summary.summarise(run, finished)["test_accuracy"] > 0.6


def test_a_machine_stopped_and_resumed_ends_in_the_same_digest_and_loads(tmp_path):
    config = shrunk("target_propagation", epochs=2)
    _, finished = train(tmp_path / "whole", config)
    with pytest.raises(loop.Stopped, match="stopped after update 15"):
        train(tmp_path / "parts", config, lambda: True)
    _, resumed = train(tmp_path / "parts", config)
    assert digest(resumed.components) == digest(finished.components)
    network, components = al.load(tmp_path / "parts")
    images = load_data("digits").test.image[:50]
    scores = network.predict([part.variables for part in components], images)
    np.testing.assert_array_equal(scores.shape, (50, 10))


def test_seeds_in_one_run_are_the_runs_of_each(tmp_path):
    run, together = train(tmp_path / "both", shrunk("least_squares", num_seeds=2, epochs=1))
    _, alone = train(tmp_path / "second", shrunk("least_squares", seed=1, epochs=1))
    second = jax.tree.map(lambda x: x[1], together.components)
    for found, wanted in zip(jax.tree.leaves(second), jax.tree.leaves(alone.components), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert len(summary.summarise(run, together)["seeds"]) == 2
    assert load_run(tmp_path / "second").network.components[0].name


def test_diagnoses_are_metrics_and_a_picture(tmp_path):
    run, finished = train(tmp_path, shrunk("feedback_alignment", diagnose=True, epochs=1))
    summary.write_summary(run, summary.summarise(run, finished))
    row = read_rows(tmp_path)[0]
    assert row["component_2/angle"] < 1
    assert 0 < row["component_1/angle"] < 180
    assert {"component_2/loss", "component_1/distance", "component_1/global_error_change"} <= set(row)
    assert (tmp_path / "diagnostics.png").read_bytes().startswith(b"\x89PNG")


def test_the_draws_of_a_neural_decision_are_as_far_apart_whatever_was_learned():
    images = np.random.default_rng(0).random((200, 8, 8, 1), np.float32)
    features = Features(16, noise=0.5)
    variables = features.init(jax.random.key(0), images, True)
    for scale in (1.0, 1e-3):
        learned = {**variables, "params": jax.tree.map(lambda x, s=scale: s * x, variables["params"])}

        @jax.jit
        def draw(key, learned=learned):
            return features.apply(learned, images, True, rngs={"dropout": key}, mutable=["batch_stats"])[0]

        one, other = map(draw, jax.random.split(jax.random.key(1)))
        assert np.std(one - other) == pytest.approx(0.5 * np.sqrt(2), rel=0.05)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"engine": "pipelined"}, "config.engine is for rule=associated, .* not gradient"),
        ({"accumulate": 2}, "config.accumulate is for rule=associated"),
        ({"network": "resnet8"}, "rule=gradient trains mlp or lenet"),
        ({"units": ""}, "config.units is ''"),
        ({"units": "8,x"}, "whole numbers separated by commas"),
        ({"rule": "neural_decision"}, "has one hidden width"),
        ({"rule": "target_propagation", "units": "8"}, "at least two hidden layers"),
        ({"rule": "evolution", "population": 5}, "config.population is 5: .* must be even"),
        ({"sigma": 0.1}, "config.sigma is for rule=evolution, not gradient"),
        ({"ridge": 1.0}, "config.ridge is for rule=least_squares, not gradient"),
        ({"rule": "least_squares", "network": "lenet"}, "layers of its own"),
        ({"rule": "associated", "network": "lenet"}, "which is for learning machines"),
        ({"rule": "associated", "diagnose": True}, "config.diagnose is for rule=gradient, .* not associated"),
        ({"search_noise": -1.0, "rule": "neural_decision", "units": "8"}, r"config.search_noise is -1\.0"),
        ({"feedback": "fixed_randon"}, "did you mean fixed_random"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(fields, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        set_up(default_config(**{"rule": "gradient", **fields}), tmp_path)


def test_images_too_small_for_a_lenet_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"these fields make no network: .*'(Conv)?Layer' cannot take the input"):
        set_up(default_config(rule="gradient", network="lenet"), tmp_path)
