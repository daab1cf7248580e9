"""The benchmarks run and leave a record; what they measure is not tested."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ratios"),
    [
        ("sequential", ("ratio", "cpu_ratio")),
        ("overhead", ("overhead", "overhead_cpu", "over_one_device")),
        ("machines", ("ratio", "cpu_ratio")),
    ],
)
def test_quick_benchmark_leaves_finite_numbers(name, ratios, tmp_path):
    file = tmp_path / "record.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(file)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]

    record = json.loads(file.read_text())
    assert record["command"] == f"python -m benchmarks.{name} --quick --json {file}"
    assert {"processor", "cores", "pinned"} <= record["hardware"].keys()
    assert {"python", "jax", "jaxlib"} <= record["versions"].keys()
    for result in record["results"]:
        assert result["case"] in finished.stdout
        for kind in ratios:
            assert all(math.isfinite(value) for value in result[kind].values())
        for arm in result["arms"].values():
            assert len(arm["repetitions"]) == record["rounds"]
            assert 0 < arm["min"] <= arm["ms_per_update"] <= arm["max"]
