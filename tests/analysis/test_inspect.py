"""What a run has learned, measured on a network trained for a moment on digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import first, make_batches, random_variables

import al_jax as al
from al_jax.analysis.anytime import exits
from al_jax.analysis.distances import class_distances, class_reduction, layer_distances
from al_jax.analysis.inspect import inspect
from al_jax.analysis.layers import layer_outputs
from al_jax.analysis.macs import anytime_macs, inference_macs, macs, training_macs, update_macs
from al_jax.analysis.results import record
from al_jax.training.config import default_config
from al_jax.training.errors import RunError
from al_jax.training.loop import Training
from al_jax.training.recipes import BACKPROP
from al_jax.training.records import read_json
from al_jax.training.run import set_up
from al_jax.training.summary import summarise, write_summary
from al_jax.training.workdir import claimed

BATCH = first(make_batches(1, size=8, shape=(4, 4, 1), classes=3))
SHAPES = {
    "image": jax.ShapeDtypeStruct((8, 4, 4, 1), jnp.float32),
    "label": jax.ShapeDtypeStruct((8,), jnp.int32),
}


def train_on_digits(workdir, **fields):
    config = default_config(components=2, width=16, code=12, epochs=1, updates_per_call=64, **fields)
    run = set_up(config, workdir)
    with claimed(config, workdir):
        finished = Training(run).finish()
    write_summary(run, summarise(run, finished))
    return workdir


@pytest.fixture
def few_points(monkeypatch):
    """Maps of few images, which is what takes the time."""
    monkeypatch.setattr("al_jax.analysis.maps.MAPPED", 60)


@pytest.mark.slow
def test_analysis_of_associated_learning(tmp_path, few_points):
    workdir = train_on_digits(tmp_path / "run", codes="pretrained", code_updates=2500)
    (found,) = inspect(workdir)
    assert read_json(workdir / "analysis.json") == {"seeds": [found]}
    kinds = [layer["kind"] for layer in found["distances"]["layers"]]
    assert kinds == ["DenseBlock"] * 2 + ["CodeLayer"] * 4
    assert found["distances"]["output"]["inter"] > 0
    assert [code["decoded"] for code in found["codes"]] == [1.0, 1.0]
    assert list(found["tsne"]["places"]) == ["input", "layer 2", "layer 4", "output"]
    loss = read_json(workdir / "summary.json")["losses"]["component_2/associated"]
    assert found["codes"][1]["associated_by_variance"] * found["codes"][1]["class_variance"] == pytest.approx(loss)
    assert {"tsne.png", "early_exit.png"} <= {path.name for path in workdir.iterdir()}
    record(tmp_path / "results.json", [workdir])
    with pytest.raises(RunError, match="give each seed once"):
        record(tmp_path / "twice.json", [workdir, workdir])
    assert {**read_json(tmp_path / "results.json")["runs"][0]["analysis"], "digest": found["digest"]} == found


@pytest.mark.slow
def test_analysis_of_backprop_has_logits_and_probabilities_but_no_codes(tmp_path, few_points):
    (found,) = inspect(train_on_digits(tmp_path / "run", **BACKPROP))
    assert found["distances"]["softmax"]["inter"] < 2**0.5 + 1e-6
    assert found["distances"]["softmax"] != found["distances"]["output"]
    assert "codes" not in found
    assert "early_exit" not in found


def test_layers_are_those_of_the_path_of_inference_in_its_order():
    network = al.associated(al.networks.mlp([5, 6]), classes=3, code=4)
    variables = random_variables(network, BATCH)
    outputs = list(layer_outputs(network, variables, BATCH["image"]).values())
    assert [output.shape[1] for output in outputs] == [5, 6, 20, 4, 4, 3]
    np.testing.assert_allclose(outputs[-1], network.predict(variables, BATCH["image"]), rtol=1e-6)
    ((place, third),) = layer_outputs(network, variables, BATCH["image"], [3]).items()
    assert place.number == 3
    np.testing.assert_array_equal(third, outputs[2])


def test_distances_are_the_means_over_pairs():
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(40, 2, 3)), np.repeat([0, 3, 7, 8], 10)
    flat = points.reshape(40, 6)
    within = [
        np.linalg.norm(flat[i] - flat[j]) for i in range(40) for j in range(40) if i != j and labels[i] == labels[j]
    ]
    means = [flat[labels == label].mean(0) for label in (0, 3, 7, 8)]
    between = [np.linalg.norm(a - b) for i, a in enumerate(means) for j, b in enumerate(means) if i != j]
    found = class_distances(points, labels)
    np.testing.assert_allclose([found.inter, found.intra], [np.mean(between), np.mean(within)], rtol=1e-9)
    assert found.ratio == found.inter / found.intra


def convolutions(layers):
    """So many layers and a classifier, with variables that nothing has trained."""
    block = al.networks.Stack(tuple(al.networks.ConvLayer(6) for _ in range(layers)))
    network = al.greedy([block], classes=3)
    return network, random_variables(network, BATCH)


def test_distances_of_layers_are_those_of_their_outputs_whatever_the_classes_sizes():
    network, variables = convolutions(3)
    rng = np.random.default_rng(0)
    images, labels = rng.random((23, 4, 4, 1), np.float32), np.repeat([0, 3, 7], [2, 9, 12])
    labels = rng.permutation(labels)
    found = layer_distances(network, variables, images, labels)
    layers = layer_outputs(network, variables, images)
    assert list(found) == list(layers)
    assert len(layers) == 3
    for place, output in layers.items():
        np.testing.assert_allclose(found[place], class_distances(output, labels), rtol=1e-5)


def test_distances_of_layers_need_no_memory_for_all_of_their_outputs():
    images, real = jax.ShapeDtypeStruct((50, 32, 32, 1), jnp.float32), jax.ShapeDtypeStruct((50,), jnp.bool_)

    def needed(layers):
        network, variables = convolutions(layers)
        compiled = jax.jit(class_reduction(network)).lower(variables, images, real).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    one_output = 50 * 32 * 32 * 6 * 4
    assert needed(12) - needed(3) < 3 * one_output  # for nine more of them


def test_outputs_of_the_papers_accuracy_have_the_papers_distances():
    """One-hot outputs that are right in 85.8 % of cases: the paper's convolutional network has 1.17 and 0.36."""
    labels = np.repeat(np.arange(10), 1000)
    wrong = np.tile(np.arange(1000) >= 858, 10)
    outputs = np.eye(10)[(labels + wrong * (1 + np.tile(np.arange(1000), 10) % 9)) % 10]
    found = class_distances(outputs, labels)
    assert found.inter == pytest.approx(1.19, abs=0.005)
    assert found.intra == pytest.approx(0.37, abs=0.005)


def test_multiply_accumulates_of_convolutions_products_and_what_they_are_wrapped_in():
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))

    @jax.jit
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert macs(convolve, x, kernel) == 2 * 4 * 4 * 5 * 27
    assert macs(jax.checkpoint(lambda x: jnp.einsum("bhwc,cd->bhwd", x, kernel[0, 0])), x) == 2 * 3 * 5 * 64


def test_multiply_accumulates_of_an_mlp():
    network = al.associated(al.networks.mlp([5, 6]), classes=3, code=4)
    up, bridge, down = [16 * 5, 5 * 6], [5 * 20 + 20 * 4, 6 * 20 + 20 * 4], [4 * 3, 4 * 4]
    shallow = up[0] + bridge[0] + down[0]
    assert inference_macs(network, SHAPES) == [shallow, sum(up) + bridge[1] + sum(down)]
    assert anytime_macs(network, SHAPES) == [shallow, sum(up) + sum(bridge) + 2 * down[0] + down[1]]
    # g and h see each of the three classes once for eight examples; then every example takes its rows.
    codes = [3 * (3 * 4 + 4 * 3) + 8 * 3 * (4 + 3), 3 * (4 * 4 + 4 * 4) + 8 * 3 * (4 + 4)]
    training = [up[k] + bridge[k] + codes[k] / 8 for k in (0, 1)]
    assert training_macs(network, SHAPES) == [round(total) for total in training]
    # Every product once more for the gradient of each operand; f and g have none by what comes from below.
    codes = [(3 * (2 * 3 * 4 + 3 * 4 * 3) + 8 * 3 * 2 * (4 + 3)) / 8, (3 * (2 + 3) * 4 * 4 + 8 * 3 * 2 * (4 + 4)) / 8]
    assert update_macs(network, SHAPES) == [round(2 * up[k] + 3 * bridge[k] + codes[k]) for k in (0, 1)]


def test_multiply_accumulates_of_an_update_end_to_end():
    network = al.backprop(al.networks.vgg(1, dense=(), width=0.02), classes=3, code=4)
    (forward,), (update,) = training_macs(network, SHAPES), update_macs(network, SHAPES)
    first = 4 * 4 * 9 * 1 * 3  # of the convolution that sees the image
    assert update == 3 * forward - first


def test_exits_weigh_accuracy_against_cost():
    scores = np.array([[[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]], [[0.2, 0.8], [0.1, 0.9], [0.9, 0.1]]])
    labels = np.array([0, 1, 0])
    eager, careful, late = exits(scores, labels, [10, 30], thresholds=(0.0, 0.8, 1.1))
    assert (eager.accuracy, eager.macs, eager.shares) == (pytest.approx(2 / 3), 10, (1.0, 0.0))
    assert (careful.accuracy, careful.macs) == (1.0, pytest.approx(70 / 3))
    assert (late.accuracy, late.macs, late.shares) == (pytest.approx(2 / 3), 30, (0.0, 1.0))
