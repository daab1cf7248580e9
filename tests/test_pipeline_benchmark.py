"""The benchmark of pipelines: that its arms train what they say, and what it says of them."""

import json
import sys
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
import quick
from quick import ROOT

import al_jax as al
from al_jax.components import call_block
from al_jax.losses import cross_entropy

run = quick.run


@pytest.fixture
def tiny(monkeypatch):
    """A case of the pipelines that takes no time."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.pipeline import cases

    case = cases.Case("tiny", (8, 8), 4, 1, (8, 8, 1), batch=4, updates=4)
    monkeypatch.setattr(cases, "QUICK", case)
    return case


@pytest.mark.slow
def test_quick_pipelines_have_a_speedup_and_equal_digests(run, tiny):
    record, said = run("pipeline")
    assert record["digest_equal"] is True
    assert record["pipelined_speedup"] > 0
    (case,) = record["cases"]
    assert case["digests"]["sequential"] == case["digests"]["pipelined"]
    measured = {name: arm for name, arm in case["arms"].items() if "left_out" not in arm}
    assert measured.keys() == {"AL, one core", "AL, pipelined", "backprop, one core"}
    assert measured["AL, pipelined"]["digest"] == measured["AL, one core"]["digest"] == case["digests"]["sequential"]
    assert record["seconds"] > 0
    assert len(case["arms"]) == 13
    said = " ".join(said.split())  # however lines are broken
    assert all(name in said for name in case["arms"])
    assert Path(sys.argv[-1]).with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_no_number_is_printed_when_digests_differ(run, tiny, monkeypatch, capsys):
    from benchmarks.pipeline.arms import Crew
    from benchmarks.pipeline.one_device import Trained

    class Trainees:
        """In place of the processes on one core or on two, which end with the same parameters but for a digest."""

        def __init__(self, kind):
            self.trained = Trained([np.zeros(2)], [np.ones(2)], f"digest of a {kind.__name__}", memory=0)

        def __call__(self, name, *given):
            return self.trained if name == "train" else [("component 1", 1)] * 2

        def ask(self, name, *given):
            pass

        def answer(self):
            return [self.trained] * 2

    monkeypatch.setattr(Crew, "open", lambda crew, kind, *given, **named: Trainees(kind))
    with pytest.raises(SystemExit, match=r"no number is printed: tiny: the digests .* differ: .*a Worker.*a Group"):
        run("pipeline")
    record = json.loads(Path(sys.argv[-1]).read_text())
    assert record["digest_equal"] is False
    assert record["pipelined_speedup"] is None
    assert not record["cases"]
    assert not capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True], ids=["residuals", "remat"])
def test_gpipe_trains_what_backprop_on_one_device_does(tiny, remat):
    from benchmarks import timing
    from benchmarks.pipeline.backward import Schedule, pipeline
    from benchmarks.pipeline.cases import PREPARE

    batches, trainer = tiny.batches(), al.sequential(tiny.backprop(), tiny.optimizer, prepare=PREPARE)
    state = trainer.init(jax.random.key(0), tiny.shapes())
    start = trainer.components(state)
    state, _ = trainer.step(state, batches)
    with jax.numpy_dtype_promotion("standard"):  # of counts and floats in optax
        made = pipeline(tiny, jax.devices()[:2], Schedule(2, remat), start)
        held, _ = made.step(made.place(start), batches)
    end = trainer.components(state)[0].params
    assert timing.movement_apart(start[0].params, end, made.parameters(held)) < 1e-3


@pytest.mark.slow
def test_mixed_versions_take_gradients_by_the_weights_at_hand_of_activations_by_older_ones(tiny, monkeypatch):
    """On two stages the lower one has made one update between a micro-batch's two passes, the upper one none."""
    from benchmarks import timing
    from benchmarks.pipeline import backward
    from benchmarks.pipeline.cases import PREPARE, Case
    from benchmarks.pipeline.passes import cut

    case, rate = tiny._replace(widths=(8, 32, 32)), 0.05
    optimizer = optax.sgd(rate)
    monkeypatch.setattr(Case, "optimizer", optimizer)
    lower, upper = cut(case, 2)
    assert [name for name, _ in lower] == ["blocks_0", "blocks_1"]
    trainer, batches = al.sequential(case.backprop(), optimizer, prepare=PREPARE), case.batches()
    start = trainer.components(trainer.init(jax.random.key(0), case.shapes()))
    with jax.numpy_dtype_promotion("standard"):
        made = backward.pipeline(case, jax.devices()[:2], backward.Schedule(mixed=True), start)
        held, _ = made.step(made.place(start), batches)

    def upper_loss(weights, x, label):
        for name, layer in upper:
            x = layer.apply({"params": weights[name]}, x, True, method=call_block)
        return cross_entropy(x, label)

    @jax.jit
    def mixture(made_by, weights, image, label):
        """Gradients by `weights`, where the lower layers' inputs and the slopes of their ELUs are those of others."""
        x, inputs, slopes, gradients = PREPARE(image, None, True).reshape(len(image), -1), [], [], {}
        for name, _ in lower:
            inputs.append(x)
            x, pull = jax.vjp(nn.elu, x @ made_by[name]["Dense_0"]["kernel"] + made_by[name]["Dense_0"]["bias"][None])
            slopes.append(pull)
        above, down = jax.grad(upper_loss, (0, 1))({name: weights[name] for name, _ in upper}, x, label)
        for (name, _), own, pull in reversed(list(zip(lower, inputs, slopes, strict=True))):
            (down,) = pull(down)
            gradients[name] = {"Dense_0": {"kernel": own.T @ down, "bias": down.sum(0)}}
            down = down @ weights[name]["Dense_0"]["kernel"].T
        return {**gradients, **above}

    def trained(behind):
        versions = [start[0].params]
        for number, (image, label) in enumerate(zip(batches["image"], batches["label"], strict=True)):
            gradients = mixture(versions[max(number - behind, 0)], versions[-1], image, label)
            versions.append(jax.tree.map(lambda w, g: w - rate * g, versions[-1], gradients))
        return versions[-1]

    apart = [timing.movement_apart(start[0].params, trained(behind), made.parameters(held)) for behind in range(3)]
    assert apart[1] < 1e-4 < 1e-2 < min(apart[0], apart[2])


def test_the_bound_counts_the_fullest_stage_and_the_ticks_that_filling_takes(tiny):
    from benchmarks.pipeline.records import bound

    assert bound([1, 1, 1, 1], [1, 1, 1, 1], (2, 2), ticks=100) == pytest.approx(2 * 100 / 101)
    assert bound([1, 2, 3], [1, 2, 3], (2, 1), ticks=1) == pytest.approx(1)
    assert bound([1, 1], [2, 2], (1, 1), ticks=1) == pytest.approx(1 / 2)  # slower in other micro-batches


def test_the_bound_of_backprop_pipelines_is_that_of_their_schedules(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.pipeline import arms
    from benchmarks.pipeline.records import ideal

    assert ideal(arms.NAIVE, 1, 2) == 1
    for name in (arms.GPIPE, arms.REMAT, arms.TORCH_GPIPE, arms.TORCH_1F1B):
        assert ideal(name, 4, 2) == 4 * 2 / 5
    assert ideal(arms.MIXED, 1, 2) is None


def test_the_caption_says_how_to_install_what_is_missing_and_what_rules_lost(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.pipeline import table
    from benchmarks.pipeline.arms import ORDER
    from benchmarks.pipeline.compare import NO_TORCH

    case = {"name": "tiny", "partition": [1, 1], "tick_ms": 1.0, "timed_under_exact": False, "batch": 4, "updates": 8}
    case |= {"rounds": 3, "transfer_share": 0.1, "arms": {name: {"left_out": NO_TORCH} for name in ORDER}}
    last = {"associated": 0.97, "backprop": 0.98, "mixed, p = 2": 0.96}
    learning = {"case": "tiny", "accuracy": 0.95, "updates": [10, 20], "last": last}
    table.show({"cases": [case], "learning": learning})
    said = " ".join(capsys.readouterr().out.split())
    assert "Left out, torch is not installed (pip install -e .[bench]): " in said
    assert "After 20 updates backprop has 98.0% accuracy, less by points: 1.0 (associated), 2.0 (mixed, p = 2)." in said


@pytest.mark.parametrize(("cores", "said"), [((1, 0), "one core a process"), ((3, 3), "all processes on core 3, the")])
def test_two_processes_on_one_core_are_recorded(monkeypatch, cores, said):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.pipeline import __main__ as pipeline

    monkeypatch.setattr(pipeline, "two_cores", lambda: cores)
    monkeypatch.setattr(pipeline.os, "sched_setaffinity", None, raising=False)
    assert pipeline.pinned().startswith(said)
