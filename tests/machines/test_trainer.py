"""What a trainer of machines refuses, before it compiles an update, and what that costs."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from unlearned import DENSE, KEY, TOP, X

from al_jax import machines
from al_jax.machines import from_linen

SGD = optax.sgd(0.1)
BATCH = {"image": X, "label": np.arange(6) % 4}  # of int64, as scikit-learn has them
CLASSES = "'Dense' was built for 3 classes"
UPDATES = {
    "other classes": (machines.chain(machines.direct_feedback_alignment(nn.Dense(5), classes=3), TOP), CLASSES),
    "few classes": (
        machines.chain(machines.tree_classifier(3, 2, feedback=None, name="few"), TOP),
        "'few' learns labels of 3 classes, but the network has scores for 4",
    ),
    "target of another shape": (
        machines.graph({"a": machines.Node(DENSE, target="loss"), "top": machines.Node(TOP, ("a",))}),
        r"node 'a' puts out \(6, 5\), but its target from 'loss' is \(6, 4\)",
    ),
    "few examples": (machines.repeat_params(TOP, 2, batch=99), "draws 99 of 6 examples"),
}


def test_a_trainer_refuses_what_is_no_loss():
    with pytest.raises(ValueError, match=r"loss is a Gradient.*: it must be a function"):
        machines.trainer(TOP, optax.adam(1e-3))


@pytest.mark.parametrize(("machine", "message"), UPDATES.values(), ids=UPDATES)
def test_a_machine_that_could_not_learn_is_not_drawn(machine, message):
    with pytest.raises(ValueError, match=f"machine '{machine.name}' cannot learn from such batches: .*{message}"):
        jax.eval_shape(lambda: machines.trainer(machine).init(KEY, BATCH))


@pytest.mark.parametrize("inside", [lambda m: m, machines.chain], ids=("alone", "chain"))
@pytest.mark.parametrize(
    ("function", "returned", "message"),
    [
        ("init", lambda key, x: ((), (), ()), r"MachineState\(params, fixed, opt_state\), and returned a tuple of 3"),
        ("forward", lambda params, fixed, x, key, train: x, r"\(y, residuals\), and returned a \w+"),
        ("backward", lambda *_: ((), None), r"\(gradients, feedback_below, metrics\), and returned a tuple of 2"),
        ("update", lambda *_: None, r"MachineState\(params, fixed, opt_state\), and returned a NoneType"),
        ("learn", lambda state, *_: (state, None), r"\(state, feedback_below, metrics\), and returned a tuple of 2"),
    ],
)
def test_a_function_that_returns_something_else_is_named(inside, function, returned, message):
    own = TOP._replace(name="own", **{function: returned})
    with pytest.raises(ValueError, match=f"machine '.*{function} of machine 'own' must return {message}"):
        jax.eval_shape(lambda: machines.trainer(inside(own)).init(KEY, BATCH))


@pytest.mark.parametrize(
    "machine",
    [
        machines.evolved(nn.Dense(4), 4, 0.1, name="own"),
        machines.with_noise(TOP, 0.1)._replace(name="own"),
        machines.with_dropout(TOP, 0.1)._replace(name="own"),
    ],
    ids=("evolution", "noise", "dropout"),
)
def test_whole_numbers_are_refused_by_what_moves_its_input(machine):
    with pytest.raises(ValueError, match=r"machine 'own' cannot take the input uint8\[6, 5\]: .* real numbers"):
        machines.trainer(machine).init(KEY, {**BATCH, "image": np.zeros((6, 5), np.uint8)})


@pytest.mark.parametrize(
    "above",
    [
        machines.gaussian_climb(TOP, candidates=3, sigma=0.1),
        machines.least_squares(4),
        machines.chain(machines.target_propagation(nn.Dense(5), nn.Dense(5)), TOP),
    ],
    ids=lambda machine: machine.name,
)
def test_a_machine_of_bfloat16_learns_below_one_of_float32(above):
    trainer = machines.trainer(machines.chain(from_linen(nn.Dense(5, dtype="bfloat16"), SGD), above))
    with jax.numpy_dtype_promotion("standard"):  # as users have it: Flax lets the two types meet
        state = trainer.init(KEY, BATCH)
        state, metrics = trainer.step(state, {name: np.asarray(x)[None] for name, x in BATCH.items()})
    assert np.isfinite(metrics.losses[-1]["loss"]).all()


def test_scores_are_float32_whatever_a_machine_computes_in():
    trainer = machines.trainer(from_linen(nn.Dense(4, dtype="bfloat16"), SGD))
    assert trainer.predict(trainer.init(KEY, BATCH), X).dtype == np.float32


def test_a_trainer_of_machines_refuses_losses_and_batches_that_are_none():
    with pytest.raises(ValueError, match=r"'Dense' cannot learn .* the loss has the shape \(6,\): it must be a scalar"):
        machines.trainer(TOP, lambda scores, label: scores[:, 0]).init(KEY, BATCH)
    with pytest.raises(ValueError, match="the batch has no 'label': a machine learns from an 'image' and a 'label'"):
        machines.trainer(TOP).init(KEY, {"image": X})
    with pytest.raises(ValueError, match="a trainer of seeds takes a key for each of them"):
        machines.trainer(TOP, seeds=True).init(KEY, BATCH)


@pytest.mark.parametrize("seeds", [False, True])
def test_labels_that_are_no_classes_are_refused(seeds):
    trainer = machines.trainer(TOP, seeds=seeds)
    batches = {"image": np.float32(X)[None], "label": BATCH["label"][None]}
    state, wrong = (
        trainer.init(KEY, BATCH) if not seeds else trainer.init(list(jax.random.split(KEY, 2)), BATCH),
        {**batches},
    )
    wrong["label"] = np.where(batches["label"] == 3, 7, 0)
    if seeds:
        batches = {name: np.stack([x, x]) for name, x in batches.items()}
        wrong = {"image": batches["image"], "label": np.stack([np.zeros_like(wrong["label"]), wrong["label"]])}
    with pytest.raises(ValueError, match="labels are from 0 to 7: of 4 classes they must be 0 to 3"):
        trainer.step(state, wrong)
    _, metrics = trainer.step(state, batches)
    assert np.isfinite(metrics.losses[0]["loss"]).all()


def test_what_another_trainer_drew_is_not_trained():
    batches = {"image": X[None], "label": BATCH["label"][None]}
    adam, sgd = (machines.trainer(from_linen(nn.Dense(4), optimizer)) for optimizer in (optax.adam(0.1), SGD))
    components = adam.components(adam.init(KEY, BATCH))
    with pytest.raises(ValueError, match="the state of component 1's optimizer is not this machine's"):
        sgd.step(sgd.place(components), batches)
    with pytest.raises(ValueError, match="component 1 is none of this machine for such batches"):
        adam.step(adam.place(components), {**batches, "image": X[None, :, :4]})


def test_an_update_is_traced_once():
    """By `init`, which refuses what cannot be, and by `step` no more."""
    traced = []

    def loss(scores, label):
        traced.append(label)
        return scores.mean()

    trainer = machines.trainer(TOP, loss)
    trainer.step(trainer.init(KEY, BATCH), {name: np.asarray(x)[None] for name, x in BATCH.items()})
    assert len(traced) == 1


def test_a_trainer_of_machines_refuses_depths_and_images_that_do_not_fit():
    trainer = machines.trainer(TOP)
    state = trainer.init(KEY, BATCH)
    assert trainer.predict(state, X, depth=1).shape == (6, 4)
    with pytest.raises(ValueError, match="depth is 2, allowed are 1 to 1"):
        trainer.predict(state, X, depth=2)
    with pytest.raises(ValueError, match=r"images \(6, 4\) do not fit these components, drawn for others"):
        trainer.predict(state, X[:, :4])
