"""The comparison of depths takes up its own record, and no other."""

import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from support import KEY

from al_jax.analysis import depth
from al_jax.training.config import default_config
from al_jax.training.errors import RunError
from al_jax.training.run import micro_batch_shapes, set_up

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


def test_norms_are_of_the_first_training_images_by_each_layers_own_loss(tmp_path):
    run = set_up(default_config(components=2, width=8, code=4, batch_size=16), tmp_path)
    components = run.trainer.components(run.trainer.init(KEY, micro_batch_shapes(run.config, run.facts)))
    train, part = run.dataset.train, run.network.components[0]
    batch = {"image": run.prepare(train.image[:16], KEY, True), "label": train.label[:16]}
    gradient = jax.grad(lambda params: part.apply({"params": params}, batch, KEY, True)[1]["associated"])
    expected = jnp.linalg.norm(gradient(components[0].params)["f"]["Dense_0"]["kernel"])
    found = depth.gradient_norms(run, components)
    assert len(found) == 2
    assert found[0] == pytest.approx(float(expected), rel=1e-4)
