"""Bad configurations are refused in one sentence, before anything is compiled."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from al_jax.data import load
from al_jax.training.command_line import read_config
from al_jax.training.config import default_config, differences, with_variant
from al_jax.training.errors import ConfigError
from al_jax.training.facts import DataFacts
from al_jax.training.limits import CHOICES, NEEDS
from al_jax.training.validation import validate

ROOT = Path(__file__).resolve().parents[2]

REFUSED = {
    "unknown choice, nearest named": ({"rule": "asociated"}, "did you mean associated"),
    "below one": ({"epochs": 0}, "at least 1"),
    "negative": ({"validation": -1}, "at least 0"),
    "no number": ({"l2": float("nan")}, "at least 0"),
    "momentum": ({"optimizer_momentum": 1.0}, r"must be in \[0, 1\)"),
    "learning rate": ({"learning_rate": 0.0}, "must be positive"),
    "batch by shards": ({"batch_size": 10, "shards": 4}, "divisible by accumulate x shards"),
    "shards by data axis": ({"engine": "pipelined", "devices": 2, "data_parallel": 2}, "multiple of data_parallel"),
    "more devices than components": ({"engine": "pipelined", "devices": 5}, "more than the 4 components"),
    "backprop is one component": ({"rule": "backprop", "engine": "pipelined", "devices": 2}, "more than the 1"),
    "devices without a data axis": ({"devices": 2}, "set engine=pipelined"),
    "partition that does not add up": ({"engine": "pipelined", "devices": 2, "partition": "1,2"}, "4 in all"),
    "partition that is no list": ({"engine": "pipelined", "devices": 2, "partition": "a,b"}, "separated by commas"),
    "partition nobody knows": ({"engine": "pipelined", "devices": 2, "partition": "best"}, "separated by commas"),
    "partition of nothing": ({"engine": "pipelined", "devices": 2, "partition": ","}, "at least one component each"),
    "partition of one stage": ({"partition": "4"}, "is for engine=pipelined"),
    "seeds on a pipeline": ({"num_seeds": 2, "engine": "pipelined", "devices": 2}, "run each seed by itself"),
    "epsilon": ({"epsilon": 0.0}, "must be positive"),
    "seeds from one": ({"num_seeds": 2, "warm_start": "runs/x"}, "run each seed by itself"),
    "cuts of an mlp": ({"cuts": "1,1,1,1"}, "an mlp has one layer a component"),
    "too few cuts": ({"network": "vgg", "cuts": "4,4"}, "give 4 components their numbers of layers"),
    "codes of backprop": ({"rule": "backprop", "codes": "pretrained"}, "is for rule=associated, not backprop"),
    "two kinds of codes": ({"codes": "pretrained", "warm_start": "runs/x"}, "brings its own codes"),
    "nothing to tell apart": (
        {"associated_loss": "contrast", "shards": 8, "accumulate": 4},
        "associated_loss is contrast, .* here each has one: raise batch_size",
    ),
    "no images to contrast": (
        {"rule": "infopro", "contrast": True, "batch_size": 1},
        "contrast is true, .* here each has one: raise batch_size",
    ),
    "nothing similar": ({"rule": "predsim", "batch_size": 4, "shards": 4}, "similarity is 0.99, .* each has one"),
    "layers that never learn": (
        {"rule": "target_propagation", "units": "8,8", "alternate": True, "epochs": 1},
        "epochs is 1, and the first epoch of alternate=true",
    ),
    "layers that learn at rate 0": (
        {"rule": "target_propagation", "units": "8,8", "alternate": True, "epochs": 3, "schedule": "epoch_cosine"},
        "epochs is 3, of which alternate=true leaves layers one, and the last",
    ),
    "no step to a target": ({"rule": "target_propagation", "target_step": 0.0}, "target_step is 0.0: it must be pos"),
    "crops of data in memory": ({"augmentation": "resized_crop"}, "choose another for digits"),
    "statistics of data on disk": ({"dataset": "imagenet2012", "normalisation": "standardise"}, "choose imagenet,"),
    "a seed too many": ({"seed": 2**32}, "made of seeds below"),
    "frozen component": ({"freeze": "1,9"}, "names component 9"),
    "frozen components": ({"freeze": "1,2,3,4"}, "names every component, so nothing would learn"),
}


@pytest.mark.parametrize(("fields", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(fields, message):
    with pytest.raises(ConfigError, match=message) as refusal:
        validate(default_config(**fields))
    assert "\n" not in str(refusal.value)


CONFIGS = {path.stem: runpy.run_path(str(path))["get_config"] for path in sorted((ROOT / "configs").glob("*.py"))}
# What another variant has to stand beside.
BESIDE = {"depth2": "man", "depth3": "man", "k32": "resnet110", "man_weights": "infopro"}


@pytest.mark.parametrize("name", CONFIGS)
def test_defaults_and_every_variant_of_every_config_are_valid(name):
    with pytest.raises(ConfigError, match="there are ") as refusal:
        CONFIGS[name]("nonsense")
    variants = str(refusal.value).partition("there are ")[2].split(", ")
    assert len(variants) >= 2
    for variant in ("", *variants):
        validate(CONFIGS[name](f"{variant},{BESIDE.get(variant, '')}" if name == "local_learning" else variant))


WITHOUT_EFFECT = {
    "padding of no crop": (
        {"padding": 4},
        "padding is for augmentation=crop, crop_flip or reflect_crop_flip, not none",
    ),
    "channels of an mlp": ({"width_factor": 2.0}, "width_factor is for network=vanilla_cnn,"),
    "units of no residual network": ({"residual": "standard"}, "residual is for network=resnet8, .*, not mlp"),
    "remat of an mlp": ({"remat": True}, "remat is for network=vanilla_cnn, .*, not mlp: leave it false"),
    "norm of no dense layers": (
        {"dense_norm": True},
        "dense_norm is for rule=backprop, not associated: leave it false",
    ),
    "hidden units of no bridge": (
        {"bridge": "none", "bridge_hidden": "elu"},
        "bridge_hidden is for bridge=paper, pool",
    ),
    "hidden units of backprop": (
        {"rule": "backprop", "bridge_hidden": "elu"},
        "bridge_hidden is for rule=associated, not backprop: leave it sigmoid",
    ),
    "bridge of a local rule": (
        {"rule": "greedy", "bridge": "pooled"},
        "bridge is for rule=associated or backprop, not",
    ),
    "pooling of the paper's bridge": ({"pool": 4}, "pool is for bridge=pooled, not paper"),
    "width of no bridge": ({"bridge": "none", "bridge_expansion": 2}, "bridge_expansion is for bridge=paper, pooled"),
    "codes of a local rule": ({"rule": "infopro", "code": 9}, "code is for rule=associated or backprop, not infopro"),
    "similarity of no pairs": ({"rule": "greedy", "similarity": 0.5}, "similarity is for rule=predsim, not greedy"),
    "weights of no reconstruction": ({"infopro_first": "1,1"}, "infopro_first is for rule=infopro, not associated"),
    "contrast of another rule": ({"rule": "greedy", "contrast": True}, "contrast is for rule=infopro, not greedy"),
    "head of no local rule": ({"head": "wide"}, "head is for rule=greedy, predsim or infopro, not associated"),
    "width of another head": ({"rule": "greedy", "head_width": 2.0}, "head_width is for head=mlp_sr, mlp_sr2, 1c2f or"),
    "decay of no average": ({"momentum_decay": 0.9}, "momentum_decay is for momentum=true, not false: leave it 0.995"),
    "penalty of no weight": ({"l2_kernels": "all"}, "l2_kernels is for an l2 above 0: leave it blocks"),
    "warm-up of no epochs": ({"warmup_epochs": 2}, "warmup_epochs is for schedule=epoch_cosine, not cosine"),
    "momentum of adam": ({"optimizer_momentum": 0.5}, "optimizer_momentum is for optimizer=sgd, not adam"),
    "stages of no pipeline": ({"partition": "2,2"}, "partition is for engine=pipelined, not sequential: leave it even"),
    "measured stages of no pipeline": ({"partition": "auto"}, "partition is for engine=pipelined, not sequential"),
}


@pytest.mark.parametrize(("fields", "message"), WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT.keys())
def test_a_field_without_effect_is_refused(fields, message):
    with pytest.raises(ConfigError, match=rf"^config\.{message}") as refusal:
        validate(default_config(**fields))
    assert "\n" not in str(refusal.value)


def test_colours_of_grey_images_are_refused():
    with pytest.raises(ConfigError, match=r"config\.normalisation is 'imagenet', .* grey images of digits"):
        DataFacts.of(default_config(normalisation="imagenet"), load("digits"))


@pytest.mark.parametrize("hidden", ["relu", "elu,elu", "elu,", ""])
def test_hidden_units_of_bridges_are_one_kind_or_one_for_each_component(hidden):
    with pytest.raises(ConfigError, match=r"bridge_hidden is '.*': it must be sigmoid, elu, or one .* of 4"):
        validate(default_config(bridge_hidden=hidden))
    validate(default_config(bridge_hidden="sigmoid,elu,elu,sigmoid"))


def test_what_a_field_needs_is_there_to_be_given():
    for field, other, values in NEEDS:
        assert field in default_config()
        assert other not in CHOICES or set(values) < set(CHOICES[other])


def test_a_misspelt_field_of_a_config_file_or_variant_is_refused():
    with pytest.raises(ConfigError, match="did you mean learning_rate"):
        default_config(lerning_rate=0.1)
    with pytest.raises(ConfigError, match=r"config\.epochs is 'ten': it must be a whole number"):
        default_config(epochs="ten")
    with pytest.raises(ConfigError, match="did you mean epochs"):
        with_variant(default_config(), "fast", {"fast": {"epoch": 3}})
    config = default_config()
    config.rate = 0.1
    with pytest.raises(ConfigError, match=r"no field config\.rate"):
        validate(config)


def test_unknown_variant_names_the_known_ones():
    with pytest.raises(ConfigError, match="there are smoke"):
        with_variant(default_config(), "smok", {"smoke": {}})


def test_variants_are_put_over_each_other_as_they_are_listed_and_not_as_they_are_named():
    variants = {"authors": {"epochs": 200, "seed": 7}, "short": {"epochs": 2}}
    configs = [with_variant(default_config(), variant, variants) for variant in ("short,authors", "authors,short")]
    assert [(config.epochs, config.seed) for config in configs] == [(2, 7)] * 2


@pytest.mark.parametrize("variant", ["k8", "resnet110", "man_cuts", "infopro"])
def test_backprop_has_one_component_whatever_it_is_named_with(variant):
    first, last = (CONFIGS["local_learning"](names) for names in (f"backprop,{variant}", f"{variant},backprop"))
    assert first == last
    assert first.components == 1


@pytest.mark.parametrize(
    ("name", "variant", "field", "value"),
    [
        ("machines", "decision_linear,smoke", "boost", 0.3),
        ("machines", "decision_linear,tuned", "epochs", 12),
        ("cifar_resnet", "cifar100,authors_backprop", "l2", 5e-4),
        ("local_learning", "smoke,man", "momentum", True),
    ],
)
def test_a_colon_between_variants_is_as_good_as_a_comma(name, variant, field, value):
    config = CONFIGS[name](variant)
    assert config[field] == value
    assert CONFIGS[name](variant.replace(",", ":")) == config


@pytest.mark.parametrize("rule", ["associated", "greedy", "predsim", "infopro", "backprop", "gradient"])
@pytest.mark.parametrize("spec", ["digits:smoke", "mnist_mlp:smoke", "cifar_mlp:smoke"])
def test_any_rule_may_be_given_to_a_config_of_another_one(spec, rule):
    config = read_config(f"{ROOT}/configs/{spec.replace(':', '.py:')}", {"rule": rule})
    validate(config)
    assert config.rule == rule


def test_fields_of_a_config_file_give_way_to_those_that_are_given():
    config = read_config(f"{ROOT}/configs/cifar_resnet.py", {"rule": "backprop", "bridge": "none"})
    assert (config.bridge_hidden, config.codes, config.pool) == ("sigmoid", "online", default_config().pool)
    assert (config.code, config.learning_rate) == (300, 3e-3)  # which both rules have
    with pytest.raises(ConfigError, match="bridge_hidden is for rule=associated, not backprop"):
        validate(read_config(f"{ROOT}/configs/cifar_resnet.py", {"rule": "backprop", "bridge_hidden": "elu"}))
    own = read_config(f"{ROOT}/configs/cifar_resnet.py", {"epochs": "3"})
    assert (own.bridge_hidden, own.codes, own.pool) == ("elu", "pretrained", 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config(:\n", "line 1"),
        ("x = 1\n", "get_config"),
        ("def get_config(variant):\n    return x\n", "own.py, line 2: NameError: name 'x' is not defined"),
    ],
)
def test_a_config_file_that_fails_is_told_to_every_command_in_one_line(content, message, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as refusal:
        read_config(str(path), {})
    assert "\n" not in str(refusal.value)
    path.write_text(
        "from al_jax.training.config import default_config\ndef get_config():\n    return default_config()\n"
    )
    assert read_config(str(path), {}) == default_config()


def test_only_fields_off_the_trajectory_may_change():
    old, new = default_config().to_dict(), default_config(devices=4, engine="pipelined", epochs=9).to_dict()
    assert differences(old, new) == []
    assert differences(old, {**old, "learning_rate": 0.5}) == ["learning_rate: 0.001 -> 0.5"]


def test_a_run_that_is_older_than_a_field_had_its_default():
    new = default_config().to_dict()
    old = {name: value for name, value in new.items() if name != "bridge_expansion"}
    assert differences(old, new) == []
    assert differences(old, {**new, "bridge_expansion": 1}) == ["bridge_expansion: 5 -> 1"]


COMMANDS = {
    "unknown field": (["--config.lerning_rate=1"], "no field config.lerning_rate; did you mean learning_rate?"),
    "wrong type": (["--config.epochs=2.5"], "config.epochs is '2.5': it must be a whole number"),
    "no such file": (["--config=configs/nix.py"], "no config file configs/nix.py"),
    "two files": (["--config=configs/digits.py", "--config", "configs/mnist_mlp.py"], "are two config files: give one"),
    "fields before the file, and no data": (
        ["--config.data_dir=/nowhere", "--config", "configs/mnist_mlp.py"],
        "mnist is not prepared",
    ),
    "no value": (["--config.epochs"], "Missing value for flag --config.epochs"),
    "nothing to evaluate": (["--config.evaluate=true"], "there is no --workdir: give that of a finished run"),
    "nobody to meet": (["--config.num_processes=2"], "coordinator is empty, but num_processes is 2"),
    "no network": (
        ["--config.bridge=none", "--config.code=9"],
        "without a bridge the code is as wide as the features, 128 here and not 9",
    ),
}


FILES = {
    "error": ("def get_config(variant=''):\n    return x\n", "own.py, line 2: NameError: name 'x' is not defined"),
    "no syntax": ("def get_config(:\n", "own.py, line 1"),
    "missing fields": (
        "import ml_collections\ndef get_config(variant=''):\n    return ml_collections.ConfigDict({'epochs': 3})\n",
        "gives no field 'accumulate': let it begin with default_config(...)",
    ),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES.keys())
def test_an_error_in_a_users_config_file_is_told_in_one_line(content, message, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(content)
    test_the_command_line_answers_with_one_line([f"--config={path}"], message)


@pytest.mark.parametrize(("arguments", "message"), COMMANDS.values(), ids=COMMANDS.keys())
def test_the_command_line_answers_with_one_line(arguments, message):
    command = [sys.executable, "train.py", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.strip().count("\n") == 0
