"""Pre-trained codes in a run: ready before the first image, kept to the end, the same on every engine and seed."""

import re

import jax
import numpy as np
import optax
import pytest
from support import assert_same_bits

import al_jax as al
from al_jax.analysis.inspect import code_statistics
from al_jax.training import loop
from al_jax.training.codes import decoded_shares, pretrain
from al_jax.training.config import default_config
from al_jax.training.networks import build_codes
from al_jax.training.run import per_seed, set_up
from al_jax.training.workdir import claimed

FIELDS = {
    "components": 2,
    "width": 8,
    "code": 16,
    "epochs": 1,
    "batch_size": 48,
    "updates_per_call": 40,
    "exact": True,
    "codes": "pretrained",
    "code_updates": 1050,  # no multiple of the updates of a call
    "code_learning_rate": 3e-3,
}


def trained(workdir, **fields):
    """The components before the first update and after the last."""
    config = default_config(**{**FIELDS, **fields})
    run = set_up(config, workdir)
    with claimed(config, workdir):
        training = loop.Training(run)
        before = training.components
        return run, before, training.finish().components


@pytest.mark.slow
def test_codes_decode_before_the_first_update_and_are_kept(tmp_path):
    run, before, after = trained(tmp_path / "sequential")
    statistics = code_statistics(run.config, 10, before)
    assert [code["decoded"] for code in statistics] == [1.0, 1.0]
    assert min(code["class_variance"] for code in statistics) > 1e-2
    for own, later in zip(before, after, strict=True):
        assert_same_bits({part: own.params[part] for part in "gh"}, {part: later.params[part] for part in "gh"})
        assert not np.array_equal(
            own.params["b"]["CodeLayer_0"]["Dense_0"]["bias"], later.params["b"]["CodeLayer_0"]["Dense_0"]["bias"]
        )
    _, _, pipelined = trained(tmp_path / "pipelined", engine="pipelined", devices=2)
    assert_same_bits(after, pipelined)
    both, _, of_both = trained(tmp_path / "both", num_seeds=2)
    assert_same_bits(after, per_seed(both, of_both)[0])


def test_codes_are_trained_beforehand_where_a_leak_makes_one_component_of_all(tmp_path):
    run, (before,), (after,) = trained(tmp_path, leak=0.5)
    chain = build_codes(run.config, 10)
    apart = {name: {part: own[part] for part in "gh"} for name, own in before.params.items()}
    assert decoded_shares(chain, [{"params": apart}], 10) == [1.0, 1.0]
    for name, own in after.params.items():
        assert_same_bits({part: own[part] for part in "gh"}, apart[name])


def test_it_is_said_whether_codes_decode(capsys):
    labels, key = {"label": np.arange(10)}, jax.random.key(0)

    def said(**fields):
        config = default_config(**{**FIELDS, **fields})
        trainer = al.sequential(build_codes(config, 10), optax.adam(1e-3))
        pretrain(config, 10, [trainer.components(trainer.init(key, labels))], [key])
        return capsys.readouterr().out

    assert re.fullmatch(
        r"warning: of the codes t_1, t_2 only \d+%, \d+% decode to their class, and no prediction over them can "
        r"be right on the others: raise config\.code_updates, now 1\n",
        said(code_updates=1),
    )
    assert said() == "The codes of all components decode to their classes.\n"


def test_codes_are_trained_for_as_many_updates_as_the_config_says():
    config, labels, key = default_config(**{**FIELDS, "code_updates": 103}), np.arange(10), jax.random.key(0)
    trainer = al.sequential(build_codes(config, 10), optax.adam(config.code_learning_rate))
    begun = trainer.components(trainer.init(key, {"label": labels}))
    (found,) = pretrain(config, 10, [begun], [key])
    state, _ = trainer.step(trainer.place(begun), {"label": np.tile(labels, (103, 1))})
    for own, expected in zip(found, trainer.components(state), strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), own.params, expected.params)


def test_a_signal_ends_the_training_of_codes(tmp_path):
    config = default_config(**{**FIELDS, "exact": False})
    with claimed(config, tmp_path), pytest.raises(loop.Stopped, match="stopped while its codes were trained"):
        loop.Training(set_up(config, tmp_path), interrupted=lambda: True)
    assert not list(tmp_path.glob("checkpoints/*"))
