"""What holds on a GPU, where there is one: whole runs, each in a process without the settings of the other tests."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMI = shutil.which("nvidia-smi")
pytestmark = [
    pytest.mark.skipif(SMI is None or subprocess.run([SMI], capture_output=True).returncode != 0, reason="no GPU"),
    pytest.mark.optimised,
    pytest.mark.slow,
]
# Kernels that give the same bits each time, chosen without measuring them, and sums in full float32.
ENVIRONMENT = {
    "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "JAX_DEFAULT_MATMUL_PRECISION": "float32",
}


def train(workdir, config, **fields):
    """The summary of a finished run."""
    given = [f"--config.{name}={value}" for name, value in fields.items()]
    command = [sys.executable, "train.py", f"--config=configs/{config}.py:smoke", *given, f"--workdir={workdir}"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["backend"] == "gpu"
    return summary


FEW = {
    "examples": 256,
    "codes": "online",
    "schedule": "constant",
    "warmup_epochs": 0,
}  # so that compiling is the most of it


@pytest.mark.parametrize("config", ["cifar_cnn", "cifar_resnet", "local_learning"])
def test_a_run_repeats_bit_for_bit_stopped_or_not_and_in_both_engines(tmp_path, config):
    whole = train(tmp_path / "whole", config, epochs=2, **FEW)
    train(tmp_path / "stopped", config, epochs=1, **FEW)
    continued = train(tmp_path / "stopped", config, epochs=2, **FEW)
    pipelined = train(tmp_path / "pipelined", config, epochs=2, engine="pipelined", **FEW)
    assert whole["digest"] == continued["digest"] == pipelined["digest"]


def test_seeds_that_train_together_do_what_each_does_alone(tmp_path):
    few = {**FEW, "examples": 64, "epochs": 1}  # two updates: differences of rounding grow
    together = train(tmp_path / "together", "cifar_cnn", num_seeds=2, **few)
    for entry in together["seeds"]:
        seed = entry["seed"]
        alone = train(tmp_path / f"alone{seed}", "cifar_cnn", seed=seed, **few)
        assert entry["losses"] == pytest.approx(alone["losses"], rel=1e-2)
