"""Plans of pipelines: what they say follows from the configuration alone, for every rule, and is drawn and written."""

import functools
import io
import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from rich.console import Console

from al_jax.data import DataError, loading, size_of, unit_range
from al_jax.data.sizes import SIZES
from al_jax.plan import bytes_from, draw, picture_from, show
from al_jax.training import partition
from al_jax.training import plan as plans
from al_jax.training.config import default_config
from al_jax.training.errors import ConfigError
from al_jax.training.facts import DataFacts
from al_jax.training.plan import make_plan

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"dataset": "mnist", "rule": "greedy", "components": 3, "width": 16, "engine": "pipelined", "devices": 2}

BEGUN = []  # what was told while they were compiled


def config(**fields):
    return default_config(**(SMALL | fields))


@functools.cache
def compiled():
    """The costs of SMALL, compiled once."""
    size = size_of("mnist")
    facts = DataFacts(size.classes, size.image, unit_range())
    return partition.profile_config(config(), facts, progress=lambda *begun: BEGUN.append(begun))


@pytest.fixture
def no_compiling(monkeypatch):
    monkeypatch.setattr(plans, "profile_config", lambda *_: compiled())


@pytest.fixture
def plan(no_compiling):
    return make_plan(config())


def test_the_numbers_of_a_plan_fit_together(plan):
    assert plan.partition == (1, 2)  # the lowest component takes the whole image
    assert [stage.components for stage in plan.stages] == [(1, 1), (2, 3)]
    assert sum(stage.share for stage in plan.stages) == pytest.approx(1)
    assert max(stage.busy for stage in plan.stages) == 1
    assert plan.tick == plan.stages[0].cost == plan.costs[0]
    assert plan.efficiency == pytest.approx(sum(plan.costs) / (2 * plan.tick))
    assert plan.micro_batches == 60 * (60_000 // 32)
    assert (plan.fills, plan.in_call, plan.flush) == (60 + 1, 128, 128)  # evaluations and the first call
    assert plan.bubble == 61 / (plan.micro_batches + 61)
    assert plan.speed_up == pytest.approx(sum(plan.costs) / plan.tick * (1 - plan.bubble))
    assert [stage.held + stage.empty for stage in plan.stages] == [plan.memory.held] * 2
    assert plan.stages[0].entering == 32 * (28 * 28 + 4)
    assert plan.stages[0].sent == plan.stages[1].entering > plan.stages[1].sent == 0


@pytest.mark.parametrize(
    ("fields", "fills"),
    [
        ({"epochs": 60, "examples": 1437}, 60),  # its first call ends with an epoch, which is evaluated
        ({"epochs": 60, "examples": 1437, "eval_every": 7}, 1 + 9),
        ({"epochs": 1, "examples": 1437, "eval_every": 7}, 1),
        ({"epochs": 1, "examples": 1437, "updates_per_call": 9}, 2),
        ({"epochs": 4, "examples": 1437, "updates_per_call": 30, "eval_every": 4}, 2 + 3),  # 14 and 16 empty places
    ],
)
def test_the_bubble_counts_every_time_that_training_drains_the_pipeline(no_compiling, fields, fills):
    plan = make_plan(config(**fields, devices=3))
    assert (plan.fills, plan.filling) == (fills, 2)
    assert plan.bubble == 2 * fills / (44 * fields["epochs"] + 2 * fills)
    assert plan.flush == plan.in_call == min(44, fields.get("updates_per_call", 128))


def test_each_component_is_told_before_it_is_compiled():
    compiled()
    assert BEGUN == [(1, 3), (2, 3), (3, 3)]


def test_a_flush_is_as_many_calls_as_stages_need(plan):
    assert plan._replace(stages=plan.stages * 4, in_call=3).flush == 9  # of 7 ticks with work


def test_a_given_partition_is_planned_and_a_better_one_named(no_compiling):
    plan = make_plan(config(partition="2,1"))
    assert plan.partition == (2, 1)
    assert plan.advice.startswith("The partition 1,2 instead of 2,1 would shorten the tick")


def test_a_plan_is_shown_drawn_and_written(plan, tmp_path):
    console = Console(file=io.StringIO(), width=140)
    show(plan, 2, "some processor", console)
    text = " ".join(console.file.getvalue().split())
    for word in (
        *("3 components on 2 devices in 2 stages", "2 to 3", "FLOPs by XLA", "speed-up", plan.advice[:60]),
        *("--config.partition=1,2 (train.py's own default is even)", "1 tick whenever", "61 times", "127 without work"),
    ):
        assert word in text
    narrow = Console(file=io.StringIO(), width=80)
    show(plan, 2, "some processor", narrow)
    assert "…" not in narrow.file.getvalue()
    assert {word for word in text.split() if "─" not in word} <= set(narrow.file.getvalue().split())
    draw(plan, tmp_path / "new" / "plan.png")
    assert (tmp_path / "new" / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(json.dumps(plan.record()))["memory"]["total"] == plan.memory.total


RULES = {
    "associated": {"rule": "associated", "code": 8},
    "greedy, a data axis": {"data_parallel": 2, "shards": 2, "devices": 4, "accumulate": 2},
    "predsim": {"rule": "predsim"},
    "infopro with momentum": {"rule": "infopro", "momentum": True},
}


@pytest.mark.parametrize("fields", RULES.values(), ids=RULES.keys())
def test_every_rule_is_planned(fields):
    plan = make_plan(config(**fields, components=2))
    assert plan.partition == (1, 1)
    assert min(plan.costs) > 0
    assert plan.micro_batches == 60 * (60_000 // 32) * fields.get("accumulate", 1)
    assert plan.stages[0].entering == 32 * (28 * 28 + 4) // (
        fields.get("accumulate", 1) * fields.get("data_parallel", 1)
    )


def test_a_plan_of_times_measures(monkeypatch):
    asked = []

    def profile(config, facts, measure_on, progress):
        asked.append(measure_on)
        found = compiled()
        return found._replace(costs=tuple(cost._replace(seconds=2.5e-3) for cost in found.costs))

    monkeypatch.setattr(plans, "profile_config", profile)
    plan = make_plan(config(components=3), measure_on=jax.devices()[0])
    assert asked == [jax.devices()[0]]
    assert (plan.measured, plan.costs, plan.cost(plan.tick)) == (True, (2.5e-3,) * 3, "5.00 ms")


REFUSED = {
    "more stages than components": ({"devices": 4}, "", "makes 4 stages, more than the 3 components"),
    "no such data": ({"dataset": "mnits"}, "", "did you mean 'mnist'"),
    "too few examples": ({"examples": 9}, "", "batch_size is 32, but there are 9 training examples"),
    "too little memory": ({}, "10KiB", "no partition over 2 stages fits 10.00 KiB a device: give at least"),
    "memory for another partition": ({"partition": "2,1"}, "10KiB", "config.partition is '2,1', which needs"),
}


@pytest.mark.parametrize(("fields", "memory", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(no_compiling, fields, memory, message):
    with pytest.raises(Exception, match=message) as refusal:
        make_plan(config(**fields), bytes_from(memory) if memory else float("inf"))
    assert isinstance(refusal.value, (ConfigError, DataError))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "10x", "0", "-1GiB", "GiB"])
def test_no_size(text):
    with pytest.raises(ConfigError, match=r"--memory is .* as 16GiB, 800MB or 1024"):
        bytes_from(text)


def test_a_picture_of_another_kind_is_refused():
    assert picture_from("new/Plan.PNG") == Path("new/Plan.PNG")
    with pytest.raises(ConfigError, match=r"--picture is 'plan\.jpg': it is drawn as PNG, so give a name"):
        picture_from("plan.jpg")


def test_sizes_are_those_of_the_data_sets():
    digits = loading.load("digits")
    assert size_of("digits") == (digits.train.shape, digits.classes, digits.train.examples)
    assert set(SIZES) == {"digits", *loading._TFDS, *loading.STREAMED}
    import tensorflow_datasets as tfds

    for name, tfds_name in loading._TFDS.items():
        features = tfds.builder(tfds_name, data_dir="/nowhere").info.features
        assert (features["image"].shape, features["label"].num_classes) == SIZES[name][:2]


def test_the_command(tmp_path):
    arguments = ["--config=configs/mnist_mlp.py:smoke", "--devices=2", "--memory=1GiB"]
    files = [f"--picture={tmp_path / 'plan.png'}", f"--json={tmp_path / 'plan.json'}"]
    result = command(*arguments, *files)
    assert result.returncode == 0, result.stderr
    assert "improvement" in result.stdout
    assert "component 1 of" not in result.stdout + result.stderr  # which a terminal shows meanwhile
    record = json.loads((tmp_path / "plan.json").read_text())
    assert record["command"].startswith("python -m al_jax.plan --config=configs/mnist_mlp.py:smoke")
    assert record["partition"] == [1, 1]
    assert (tmp_path / "plan.png").exists()


def test_the_command_refuses_in_one_line():
    result = command("--config.components=3")
    assert result.returncode == 1
    assert result.stderr == "error: --devices is missing: say for how many devices to plan, as --devices=4\n"


def command(*arguments):
    words = [sys.executable, "-m", "al_jax.plan", *arguments]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
