"""Local learning from configurations: the published recipe and sizes, every rule on digits, and what is refused."""

import runpy
from collections import Counter
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import parameter_shapes, random_variables

from al_jax import rules
from al_jax.analysis.macs import training_macs
from al_jax.chain import parameter_counts
from al_jax.components import with_prepare
from al_jax.data import unit_range
from al_jax.data.prepare import Affine
from al_jax.training.build import build_prepare
from al_jax.training.config import default_config
from al_jax.training.errors import ConfigError
from al_jax.training.facts import DataFacts
from al_jax.training.loop import Training
from al_jax.training.networks import build_network
from al_jax.training.records import read_rows
from al_jax.training.run import set_up
from al_jax.training.summary import summarise
from al_jax.training.validation import validate
from al_jax.training.workdir import claimed

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "local_learning.py"
IMAGE = (32, 32, 3)


def read(variant=""):
    config = runpy.run_path(str(CONFIG))["get_config"](variant)
    validate(config)
    return config


def built(config):
    return build_network(config, DataFacts(10, IMAGE, unit_range()))


BATCH = {"image": jax.ShapeDtypeStruct((2, *IMAGE), jnp.float32), "label": jax.ShapeDtypeStruct((2,), jnp.int32)}


def counts(network):
    return len(network.components), *parameter_counts(network, parameter_shapes(network, BATCH))


@pytest.mark.parametrize(
    ("variant", "components", "trained"),
    [
        ("backprop", 1, 466_906),
        # The stem's head, then five of each stage of AugLocal's, without the top one.
        ("", 16, 466_906 + 6 * 9_962 + 5 * 37_834 + 4 * 147_338),
        ("man_cuts", 15, 466_906 + 5 * 9_962 + 5 * 37_834 + 4 * 147_338),
        ("k8", 8, 466_906 + 3 * 9_962 + 2 * 37_834 + 2 * 147_338),
        # The first unit of every later component again, from whose width on the heads are.
        ("predsim,k8", 8, 466_906 + 7 * 5_130 + 9 * (3 * 16**2 + 2 * 32**2 + 2 * 64**2)),
    ],
)
def test_a_resnet_32_has_the_published_parameters_whatever_trains_it(variant, components, trained):
    assert counts(built(read(variant))) == (components, trained, 466_906)


def test_momentum_adds_the_first_layer_of_every_later_component():
    def trained(variant):
        config = read(variant)
        config.update({"network": "resnet8", "components": 4, "cuts": "even"})
        _, trained, effective = counts(built(config))
        return trained, effective

    with_man, effective = trained("man")
    assert trained("bias_only") == (with_man, effective)  # the average is no parameter
    two, _ = trained("two_branches")
    units = effective - 650 - (3 * 9 * 16 + 32)  # all but the stem and the classifier
    without, _ = trained("")
    heads = (9_962 - 37_834) + (37_834 - 147_338)  # where the next unit is wider, so is what the head sees
    assert with_man - without == units - heads
    assert two - with_man == units


@pytest.mark.slow
def test_controls_of_momentum_have_its_parameters_and_its_macs():
    man, parameters, macs = (built(read(variant)) for variant in ("man", "equal_parameters", "equal_macs"))
    assert counts(parameters)[1] == pytest.approx(counts(man)[1], rel=0.02)
    assert sum(training_macs(macs, BATCH)) == pytest.approx(sum(training_macs(man, BATCH)), rel=0.02)


@pytest.mark.parametrize("variant", ["infopro,equal_macs", "k8,equal_parameters", "resnet110,equal_parameters"])
def test_controls_of_equal_cost_are_refused_where_they_would_have_another(variant):
    with pytest.raises(ConfigError, match="were counted for DGL on ResNet-32 with K = 16"):
        read(variant)


def test_weights_of_infopro_are_those_of_its_authors():
    config = read("infopro")
    assert (config.infopro_first, config.infopro_last) == ("5,0.05", "0.2,0.5")
    config = read("infopro,resnet110")
    assert (config.components, config.infopro_first, config.infopro_last) == (55, "5,0", "0.5,1")
    config = read("stl10,infopro,resnet110,man_cuts")
    assert (config.components, config.infopro_first, config.infopro_last) == (54, "20,0.5", "10,0.1")
    assert read("infopro,svhn").infopro_first == "5,0.2"
    assert read("infopro,smoke").infopro_first == default_config().infopro_first


@pytest.mark.parametrize(
    ("variant", "by_stage"),
    [
        ("man_cuts", {4.64: 4, 4.29: 5, 3.93: 5}),  # components whose next unit is of the first, second and third stage
        ("man_cuts,resnet110", {4.91: 17, 4.81: 18, 4.72: 18}),
        ("resnet110,man_cuts", {4.91: 17, 4.81: 18, 4.72: 18}),
        ("k8", {4.17: 2, 3.33: 3, 2.5: 2}),
    ],
)
def test_weights_of_man_go_down_by_stages(variant, by_stage):
    config = read(f"infopro,man_weights,{variant}")
    assert (config.infopro_first, config.infopro_last) == ("5,0.5", "0,0")
    objectives = [part.module.objective for part in built(config).components[:-1]]
    weights = [objective.weights for objective in objectives]
    assert Counter(round(reconstruction, 2) for reconstruction, _ in weights) == by_stage
    assert [target for _, target in weights] == pytest.approx([0.1 * reconstruction for reconstruction, _ in weights])


def trained(config, workdir):
    """The summary of a run and the rows of its losses."""
    run = set_up(config, workdir)
    with claimed(config, workdir):
        summary = summarise(run, Training(run).finish())
    return summary, [
        row for row in read_rows(workdir) if "component_1/prediction" in row or "component_1/associated" in row
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "names"),
    [
        ("predsim", {"prediction", "similarity"}),
        ("infopro,man", {"prediction", "reconstruction"}),
        ("man", {"prediction"}),
    ],
)
def test_every_rule_learns_digits(variant, names, tmp_path):
    config = read(f"{variant},smoke")
    # Dense layers compile in a fraction of the time.
    config.update({"network": "mlp", "residual": "authors", "width_factor": 1.0, "width": 32})
    config.update({"components": 2, "epochs": 6, "eval_every": 6})
    summary, _ = trained(config, tmp_path)
    assert summary["test_accuracy"] > 0.8
    assert {name.split("/")[1] for name in summary["losses"]} == names
    assert len(summary["accuracy_by_depth"]) == 2


@pytest.mark.slow
def test_convolutions_learn_to_reconstruct(tmp_path):
    config = read("infopro,smoke")
    config.update({"components": 2, "width_factor": 0.25, "examples": 64, "epochs": 8, "eval_every": 8})
    config.update({"schedule": "constant", "warmup_epochs": 0})
    summary, rows = trained(config, tmp_path)
    first, *_, last = [row["component_1/reconstruction"] for row in rows]
    assert last < 0.95 * first
    assert 0 <= summary["test_accuracy"] <= 1


def test_associated_learning_learns_digits_with_momentum(tmp_path):
    config = default_config(
        momentum=True, components=2, width=32, code=16, learning_rate=1e-2, epochs=20, eval_every=20
    )
    summary, rows = trained(config, tmp_path)
    assert summary["test_accuracy"] > 0.8
    assert rows[-1]["component_1/associated"] < rows[0]["component_1/associated"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"momentum": True, "rule": "backprop"}, "config.momentum is for rules with components"),
        ({"momentum": True, "leak": 0.5}, "config.leak makes one component of all"),
        (
            {"momentum": True, "momentum_biases": 0, "momentum_average": False},
            "config.momentum_biases is 0 without momentum_average",
        ),
        ({"rule": "infopro", "augmentation": "authors"}, "config.augmentation is 'authors', whose images"),
        ({"rule": "greedy", "l2": 1e-4}, "config.l2 is for associated and backprop: set weight_decay"),
        ({"cuts": "memory"}, "config.cuts is 'memory': an mlp has one layer a component"),
        (
            {"rule": "infopro", "infopro_first": "nan,1"},
            "config.infopro_first is 'nan,1': weights must be numbers of at least 0",
        ),
        ({"momentum": True, "components": 1}, "config.momentum is for several components"),
        (
            {"momentum": True, "momentum_scaled": True, "momentum_average": False},
            "config.momentum_scaled weighs biases",
        ),
        ({"rule": "greedy", "head": "image"}, "config.head is 'image', which is made of convolutions"),
        ({"network": "vgg", "cuts": ","}, "config.cuts is ',': it must be 'even' or give 4 components"),
        ({"momentum": True, "bridge": "conv", "network": "vgg"}, "config.bridge is 'conv', shaped like the next block"),
        ({"rule": "infopro", "infopro_shares": "0,2"}, "config.infopro_shares is '0,2': it must be 'even' or numbers"),
        ({"similarity": 1.5}, "config.similarity is 1.5: it must be from 0 to 1"),
        ({"rule": "gredy"}, "config.rule is 'gredy': allowed are .*; did you mean greedy"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        validate(default_config(**fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "infopro", "infopro_first": "5"}, "config.infopro_first is '5': it must be two numbers"),
        ({"rule": "infopro", "infopro_shares": "0,1"}, "2 shares for 3 components below the top one"),
        ({"rule": "greedy", "momentum": True, "momentum_depth": 4}, "the next 4 layers, but above component 1"),
        ({"network": "resnet32", "cuts": "infopro", "rule": "greedy"}, "infopro cuts resnet32 into 8 or 16 components"),
        ({"network": "vanilla_cnn", "cuts": "man", "rule": "greedy"}, "man cuts .*, not 'vanilla_cnn'"),
        ({"network": "resnet8", "cuts": "memory", "components": 5}, "4 layers cannot be cut into 5 blocks"),
    ],
)
def test_what_makes_no_network_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        build_network(default_config(**fields), DataFacts(10, IMAGE, unit_range()))


def test_infopro_reconstructs_the_augmented_image_before_it_was_normalised():
    config = default_config(rule="infopro", components=2, width=4, augmentation="crop_flip", infopro_first="2,0")
    shape, key = (2, 8, 8, 3), jax.random.key(0)
    normalise = Affine(np.float32(100.0), np.float32(1 / 50))
    facts = DataFacts(10, shape[1:], normalise)
    network = with_prepare(build_network(config, facts), build_prepare(config, facts))
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    batch = {"image": pixels, "label": np.zeros(2, np.int32)}
    (variables, _) = random_variables(network, batch)

    def reconstruction(logits):
        def decoded(call, args, kwargs, context):
            return logits if isinstance(context.module, rules.Decoder) else call(*args, **kwargs)

        with nn.intercept_methods(decoded):
            return network.components[0].apply(variables, batch, key, True)[1]["reconstruction"]

    # By each logit, twice the mean cross-entropy has the gradient 2 (sigmoid(logit) - pixel) / number of pixels.
    gradient = jax.grad(reconstruction)(jnp.zeros(shape))
    target = 255 * (0.5 - gradient * gradient.size / 2)
    as_it_is = build_prepare(config, facts._replace(normalise=Affine(np.float32(0.0), np.float32(1.0))))
    augmented = as_it_is(pixels, jax.random.split(key)[0], True)  # with the key of component 1
    np.testing.assert_allclose(target, augmented, atol=0.01)
    assert np.any(np.asarray(augmented) != pixels)
