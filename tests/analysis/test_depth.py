"""The comparison of depths takes up its own record, and no other."""

import shutil
import sys
from pathlib import Path

import pytest

from al_jax.analysis import depth
from al_jax.training.errors import RunError

RECORD = Path(__file__).parents[2] / "results" / "depth.json"


def test_the_command_takes_up_the_committed_record(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(depth, "measure", lambda config, workdir: pytest.fail("nothing is left to train"))
    shutil.copy(RECORD, tmp_path)
    command = ["depth", "--out", str(tmp_path / RECORD.name)]
    monkeypatch.setattr(sys, "argv", command)
    depth.main()
    assert (tmp_path / RECORD.name).read_text() == RECORD.read_text()
    assert "depth.png" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*command, "--epochs", "30", "--width", "64"])
    with pytest.raises(RunError, match=r"holds runs with epochs 20, not 30, width 128, not 64: give these, or another"):
        depth.main()
