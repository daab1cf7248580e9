"""Configs compared seed by seed, on results that were made up and on runs of a moment."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from al_jax.analysis.compare import compare
from al_jax.analysis.paired import paired_difference
from al_jax.training.config import default_config
from al_jax.training.errors import RunError

ROOT = Path(__file__).parents[2]
TINY = """from al_jax.training.config import default_config
def get_config(variant=""):
    return default_config(rule="gradient", units="8", epochs=1)
"""


def results(path, accuracies, epochs=60, seeds=None, **fields):
    runs = []
    for seed, accuracy in zip(seeds or range(len(accuracies)), accuracies, strict=True):
        config = default_config(seed=seed, epochs=epochs, **fields).to_dict()
        run = {"seed": seed, "test_accuracy": accuracy, "epochs": epochs, "wall_seconds": 90.0, "config": config}
        run |= {"parameters": 2000, "effective_parameters": 1000, "processor": "a processor", "backend": "cpu"}
        run["analysis"] = {"macs": {"training": [1_500_000, 500_000]}}
        runs.append(run)
    path.write_text(json.dumps({"name": path.stem, "runs": runs}))
    return path


def test_the_interval_is_that_of_a_table_of_student_s_t():
    """With 4 degrees of freedom the table says 2.776 for 95 % on two sides, and 2.132 on one."""
    values, reference = np.array([91.3, 90.8, 91.9, 91.1, 90.4]), np.array([91.0, 91.2, 91.4, 91.3, 90.9])
    differences = np.array([0.3, -0.4, 0.5, -0.2, -0.5])
    error = np.sqrt(np.sum((differences + 0.06) ** 2) / 4 / 5)
    found = paired_difference(values.tolist(), reference.tolist())
    assert found.mean == pytest.approx(-0.06)
    assert (found.low, found.high) == pytest.approx((-0.06 - 2.776 * error, -0.06 + 2.776 * error), abs=2e-4)
    assert found.bound == pytest.approx(-0.06 - 2.132 * error, abs=2e-4)
    assert found.non_inferior(0.5)
    assert not found.non_inferior(0.4)


def test_pairs_take_out_what_seeds_have_in_common():
    reference = [80.0, 90.0, 85.0]
    found = paired_difference([value + 1 for value in reference], reference)
    assert (found.low, found.high) == (1, 1)


def test_a_table_of_two_results(tmp_path):
    first = results(tmp_path / "backprop.json", (0.980, 0.984, 0.982), rule="backprop")
    second = results(tmp_path / "ours.json", (0.979, 0.985, 0.981), epochs=80)
    lines = compare([first, second]).splitlines()
    assert lines[2].startswith(
        "| backprop | 98.20 ± 0.20 % | reference |  |  | 2,000 | 1,000 | 2.0 million | 60 | 1.5 "
    )
    # Differences -0.1, 0.1, -0.1: their mean is -1/30 and their error 1/15, times 4.303 or 2.920.
    assert lines[3].startswith("| ours | 98.17 ± 0.31 % | -0.03 | -0.32 to +0.25 | yes, -0.23 |")
    assert lines[-1] == "- backprop -> ours: rule: 'backprop' -> 'associated'; epochs: 60 -> 80."
    assert "| no, -0.23 |" in compare([first, second], margin=0.2)
    assert "Paired over the seeds 0, 1;" in compare([first, second], seeds=[0, 1])


def test_what_makes_no_pairs_is_refused(tmp_path):
    three = results(tmp_path / "three.json", (0.98, 0.97, 0.99))
    with pytest.raises(RunError, match="three has the seeds 0, 1, 2, but two has 0, 1: pairs need the same seeds"):
        compare([three, results(tmp_path / "two.json", (0.98, 0.97))])
    with pytest.raises(RunError, match=r"has the seeds 1, 2 and lacks 0: pairs"):
        compare([three, results(tmp_path / "late.json", (0.98, 0.97), seeds=[1, 2])], seeds=[0, 1])
    with pytest.raises(RunError, match="at least 2 seeds, and three has 1"):
        compare([three, three], seeds=[0])
    with pytest.raises(RunError, match="three was trained on digits, but mnist on mnist"):
        compare([three, results(tmp_path / "mnist.json", (0.98, 0.97, 0.99), dataset="mnist")])
    with pytest.raises(RunError, match="three alone is no comparison"):
        compare([three])
    with pytest.raises(RunError, match="a level between 0 and 1"):
        compare([three, three], level=95)
    with pytest.raises(RunError, match="holds no results of a config"):
        compare([three, ROOT / "results" / "depth.json"])


@pytest.mark.slow
def test_a_config_is_run_with_the_seeds_of_the_results_it_is_compared_with(tmp_path):
    config, out = tmp_path / "tiny.py", tmp_path / "table.md"
    config.write_text(TINY)
    reference = results(tmp_path / "reference.json", (0.2, 0.3, 0.4))
    command = [sys.executable, "-m", "al_jax.analysis.compare", str(reference), str(config), "--seeds", "2"]
    command += ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results"), "--out", str(out), "--"]
    said = subprocess.run([*command, "--config.keep=1"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert said.endswith(out.read_text())
    assert [line.split(" | ")[0] for line in out.read_text().splitlines()[2:4]] == ["| reference", "| tiny"]
    assert "Paired over the seeds 0, 1;" in out.read_text()
    refused = subprocess.run([*command, "--config.epochs=2"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "only fields that change no result" in refused.stderr
