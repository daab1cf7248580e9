"""Benchmarks run in this process, for tests of what they leave; fixtures for modules that name them."""

import json
import runpy
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`python -m benchmarks.NAME --quick --json FILE` as a function in this process: its record and what it prints."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr("benchmarks.timing.one_core", lambda: None)  # this process has more to do
    file = tmp_path / "record.json"

    def run(name):
        monkeypatch.setattr(sys, "argv", [name, "--quick", "--json", str(file)])
        # The loop that is written by hand leaves promotions to JAX.
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)
        record = json.loads(file.read_text())
        assert record["command"] == f"python -m benchmarks.{name} --quick"  # without paths of this machine
        assert {"processor", "cores", "pinned"} <= record["hardware"].keys()
        assert {"python", "jax", "jaxlib"} <= record["versions"].keys()
        return record, capsys.readouterr().out

    return run
