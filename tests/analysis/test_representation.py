"""Probes and CKA, against their definitions and on networks trained for a moment."""

import json

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from support import Local, first, make_batches, random_variables

import al_jax as al
from al_jax.analysis.blocks import averaged, block_outputs
from al_jax.analysis.cka import linear_cka
from al_jax.analysis.probes import probe, probe_accuracies
from al_jax.analysis.representation import represent
from al_jax.data import Split
from al_jax.training.config import default_config
from al_jax.training.errors import RunError
from al_jax.training.loop import Training
from al_jax.training.recipes import BACKPROP
from al_jax.training.run import set_up
from al_jax.training.summary import summarise, write_summary
from al_jax.training.workdir import claimed

BATCH = first(make_batches(1, size=8, shape=(8, 8, 1), classes=3))
BLOCKS = (*al.networks.vanilla_cnn(cuts=3, width=0.05), *al.networks.mlp([5]))


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def orthogonal(size):
    return np.linalg.qr(draw(size, size, seed=9))[0]


@pytest.mark.parametrize("rule", [al.associated, al.backprop])
def test_blocks_hand_up_the_same_under_every_rule(rule):
    network = rule(BLOCKS, classes=3, code=4)
    variables = random_variables(network, BATCH)
    outputs = block_outputs(network)(variables, BATCH["image"])
    own = [v["params"]["f"] for v in variables] if rule is al.associated else None
    own = own or [variables[0]["params"][f"blocks_{index}"] for index in range(len(BLOCKS))]
    x = BATCH["image"]
    for block, params, output in zip(BLOCKS, own, outputs, strict=True):
        x = block.clone(parent=None).apply({"params": params}, *((x,) if output.ndim == 2 else (x, False)))
        np.testing.assert_allclose(output, x, rtol=1e-5, atol=1e-6)


def test_one_component_is_looked_into_where_several_are_cut():
    cuts = (3, 5)
    several, one = (al.greedy(al.networks.vanilla_cnn(cuts=own, width=0.05), classes=3) for own in (cuts, 1))
    variables = random_variables(several, BATCH)
    layers = [layer for own in variables for layer in own["params"]["f"].values()]
    whole = random_variables(one, BATCH)
    whole[0]["params"]["f"] = {f"layers_{index}": layer for index, layer in enumerate(layers)}
    expected = block_outputs(several)(variables, BATCH["image"])
    for output, wanted in zip(block_outputs(one, cuts)(whole, BATCH["image"]), expected, strict=True):
        np.testing.assert_array_equal(output, wanted)
    with pytest.raises(ValueError, match=r"cuts is \(1, 2\): it must cut the 8 layers"):
        block_outputs(one, (1, 2))(whole, BATCH["image"])


def test_blocks_that_leak_are_in_one_component():
    network = al.leak(al.greedy, 0.5)(BLOCKS, classes=3)
    outputs = block_outputs(network)(random_variables(network, BATCH), BATCH["image"])
    assert len(outputs) == len(BLOCKS)


def test_a_component_without_features_and_blocks_is_named():
    network = al.compose([al.component(Local(5))])
    with pytest.raises(ValueError, match=r"component 1 \(Local\) hands up no features"):
        block_outputs(network)(random_variables(network, BATCH), BATCH["image"])


def test_features_are_averaged_over_the_image_or_flattened():
    np.testing.assert_allclose(averaged(jnp.arange(8.0).reshape(1, 2, 2, 2)), [[3, 4]])
    assert averaged(jnp.ones((3, 2, 5))).shape == (3, 10)


def hsic_1(x, y):
    """The unbiased estimator of two kernels as Song et al. write it."""
    n, ones = len(x), np.ones(len(x))
    x, y = x - np.diag(np.diag(x)), y - np.diag(np.diag(y))
    products = np.trace(x @ y) + (ones @ x @ ones) * (ones @ y @ ones) / ((n - 1) * (n - 2))
    return (products - 2 / (n - 2) * ones @ x @ y @ ones) / (n * (n - 3))


def test_cka_is_that_of_its_definition():
    """On three batches, of layers that share something and do not lie around zero."""
    left = [[draw(12, 7, seed=i) + 3, draw(12, 2, 2, 3, seed=10 + i)] for i in range(3)]
    right = [[x[0] @ draw(7, 4, seed=20) + draw(12, 4, seed=30 + i)] for i, x in enumerate(left)]

    def mean_hsic(of_x, of_y):
        flat = [[np.float64(x).reshape(12, -1) for x in pair] for pair in zip(of_x, of_y, strict=True)]
        return np.mean([hsic_1(x @ x.T, y @ y.T) for x, y in flat])

    expected = np.empty((2, 1))
    for a in range(2):
        x, y = [batch[a] for batch in left], [batch[0] for batch in right]
        expected[a, 0] = mean_hsic(x, y) / np.sqrt(mean_hsic(x, x) * mean_hsic(y, y))
    found = linear_cka(zip(left, right, strict=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert abs(found[1, 0]) < 0.2 < found[0, 0] < 1


def test_cka_does_not_see_rotation_scale_and_shift():
    x = draw(4, 16, 6)
    found = linear_cka(([batch], [batch, 0.01 * batch @ orthogonal(6) + 100]) for batch in x)
    np.testing.assert_allclose(found, 1, atol=1e-3)
    stretched = linear_cka(([batch], [batch * np.float32([9, 1, 1, 1, 1, 1])]) for batch in x)
    assert stretched[0, 0] < 0.9


def test_cka_of_wide_unrelated_layers_is_not_biased_upwards():
    """The biased estimator gives 0.95 here: with more units than examples, all kernels look like the identity."""
    found = linear_cka(([draw(10, 200, seed=i)], [draw(10, 200, seed=99 + i)]) for i in range(40))
    assert abs(found[0, 0]) < 0.2


@pytest.mark.parametrize("sizes", [(), (3,), (8, 6)])
def test_batches_that_cka_cannot_average_are_refused(sizes):
    with pytest.raises(ValueError, match=r"there is no batch|all need the same number"):
        linear_cka(([draw(size, 2)], [draw(size, 2)]) for size in sizes)


def test_a_probe_finds_what_is_linear_and_no_more():
    x, z = draw(600, 2), draw(600, 2, seed=1)
    linear, round_ = (x @ [1.0, -2.0] > 0).astype(int), (np.square(x).sum(1) > 1.4).astype(int)
    assert probe(x[:400], linear[:400], x[400:], linear[400:]) > 0.97
    assert probe(x[:400], round_[:400], x[400:], round_[400:]) < 0.7
    assert probe(z[:400], linear[:400], z[400:], linear[400:]) < 0.65
    uneven = x * [1e-4, 1.0]
    assert probe(uneven[:400], linear[:400], uneven[400:], linear[400:]) > 0.97  # each feature by its own deviation


def test_probes_of_every_block():
    class Erase(nn.Module):
        def __call__(self, x):
            return 0 * x

    network = al.associated((*al.networks.mlp([32]), Erase()), classes=2, code=4)
    images = draw(64, 4, 4, 1)
    split = Split(images, (images[:, 0, 0, 0] > 0).astype(np.int32))
    variables = random_variables(network, {"image": images, "label": split.label})
    first_block, second = probe_accuracies(block_outputs(network), variables, split, split)
    assert first_block > 0.9
    assert second == pytest.approx(max(split.label.mean(), 1 - split.label.mean()))


def trained(workdir, **fields):
    run = set_up(default_config(**{"components": 2, "epochs": 1, "examples": 320, **fields}), workdir)
    with claimed(run.config, workdir):
        finished = Training(run).finish()
    write_summary(run, summarise(run, finished))
    return workdir


@pytest.mark.slow
def test_runs_beside_each_other(tmp_path):
    convolutions = {"rule": "greedy", "head": "pooled", "network": "vanilla_cnn", "width_factor": 0.1}
    ours = trained(tmp_path / "ours", **convolutions)
    whole = trained(tmp_path / "whole", **{**convolutions, "components": 1, "remat": True})
    backprop = trained(tmp_path / "backprop", num_seeds=2, width=32, code=12, **BACKPROP)
    found = represent([ours, whole, backprop], tmp_path / "out")
    assert found == json.loads((tmp_path / "out/representation.json").read_text())
    assert [run["name"] for run in found["runs"]] == ["ours", "whole", "backprop"]
    assert [run["rule"] for run in found["runs"]] == ["greedy", "greedy", "backprop"]
    assert all(len(run["probes"]) == 2 and min(run["probes"]) > 0.15 for run in found["runs"])
    np.testing.assert_allclose(np.diag(found["runs"][0]["cka"]), 1, atol=1e-3)
    for other in found["runs"][1:]:
        assert np.shape(other["cka"]) == (2, 2)
        assert 0.1 < other["cka"][0][0] < 1
    pictures = {"probes.png", "cka.png", "cka_by_block.png", "features_ours.png", "features_whole.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"representation.json", *pictures}


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="there is no run in"):
        represent([tmp_path], tmp_path)
