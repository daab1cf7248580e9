"""The machines that configs/machines.py builds: who learns when, and by what."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from al_jax import machines
from al_jax.data import unit_range
from al_jax.losses import cross_entropy
from al_jax.machines import predict_tree
from al_jax.training.build import build_machine_trainer
from al_jax.training.facts import DataFacts
from al_jax.training.machines import build_machine

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "machines.py"
KEY, X = jax.random.key(0), np.random.default_rng(0).random((20, 8, 8, 1), np.float32)
LABEL = jnp.arange(20) % 10


FACTS = DataFacts(10, (8, 8, 1), unit_range())
ANGLES = {"angle", "norm_ratio", "feedback_angle"}
LOCAL = {"distance", "local_error_change", "input_error_change"}
MEASURES = ANGLES | LOCAL | {"global_error_change", "input_global_error_change"}


def config_of(variant, **fields):
    config = runpy.run_path(str(CONFIG))["get_config"](f"{variant},smoke")
    config.update({"batch_size": 20, **fields})
    return config


def built(variant, **fields):
    """Of a batch of 20 images of digits, with epochs of two updates."""
    return build_machine(config_of(variant, **fields), FACTS, optax.sgd(0.1), epoch=2)


def begin(machine):
    return jax.jit(machine.init)(KEY, X)


def learner(machine):
    """The state after one update, compiled."""

    @jax.jit
    def learn(state, step):
        scores, residuals = machine.forward(state.params, state.fixed, X, KEY, True)
        error = jax.grad(cross_entropy)(scores, LABEL)
        context = machines.Context(error, LABEL, step, KEY)
        return machines.learn(machine, state, residuals, machines.Feedback.along(scores, error), context)[0]

    return learn


# Whether what the lowest layer learns depends on the weights of those above it.
TRANSPORTS = {
    "baseline": True,
    "least_squares": True,
    "target_propagation": False,
    "feedback_alignment": False,
    "direct_feedback_alignment": False,
    "local_classifier": False,
}


@pytest.mark.parametrize("variant", TRANSPORTS)
def test_no_weights_are_transported_where_none_should_be(variant):
    """Weights above change by what no example of the batch shows, so that nothing but their transpose is another.

    The output layer of target propagation keeps its weights, as it does hand its gradient down.
    """
    machine = built(variant, units="24,24,24")
    state = jax.device_get(begin(machine))
    top = len(machine.parts) - 1

    @jax.jit
    def run(state):
        x, inputs = X, []
        for index, part in enumerate(machine.parts):
            inputs.append(x.reshape(len(x), -1))
            x, _ = part.forward(state.params[index], state.fixed[index], x, KEY, True)
        scores, residuals = machine.forward(state.params, state.fixed, X, KEY, True)
        error = jax.grad(cross_entropy)(scores, LABEL)
        context = machines.Context(error, LABEL, jnp.int32(0), KEY)
        feedback = machines.Feedback.along(scores, error)
        gradients, _, _ = machine.backward(state.params, state.fixed, residuals, feedback, context)
        return inputs, scores, ravel_pytree(gradients[0])[0]

    def turned(path, kernel):
        """The kernel with another transpose, above the lowest part and outside of inverses."""
        part, names = path[0].idx, [getattr(step, "key", "") for step in path]
        kept = part == 0 or (part == top and variant == "target_propagation")
        if kept or names[-1] != "kernel" or "reverse" in names:
            return kernel
        change = np.random.default_rng(part).normal(size=kernel.shape)
        seen = np.linalg.qr(np.float64(inputs[part]).T)[0]
        return kernel + np.float32(change - seen @ (seen.T @ change))

    inputs, scores, gradient = run(state)
    changed = state._replace(params=jax.tree_util.tree_map_with_path(turned, state.params))
    _, same, other = run(changed)
    np.testing.assert_allclose(same, scores, atol=1e-3)
    assert np.linalg.norm(gradient) > 0
    apart = np.linalg.norm(other - gradient) / np.linalg.norm(gradient)
    assert apart > 0.5 if TRANSPORTS[variant] else apart < 1e-3


@pytest.mark.parametrize("variant", ["decision_linear", "neural_decision"])
def test_no_gradient_passes_through_trees(variant, monkeypatch):
    """Trees that refuse to be differentiated learn and teach as ever."""

    @jax.custom_jvp
    def predict(tree, x):
        return predict_tree(tree, x)

    @predict.defjvp
    def _(primals, tangents):
        raise AssertionError("a tree was differentiated")

    monkeypatch.setattr(machines.trees, "predict_tree", predict)
    machine = built(variant)
    state = jax.eval_shape(machine.init, KEY, X)
    after = jax.eval_shape(learner(machine), state, jnp.int32(0))
    assert jax.tree.structure(after) == jax.tree.structure(state)

    def total(x, state):
        return machine.forward(state.params, state.fixed, x, KEY, True)[0].sum()

    with pytest.raises(AssertionError, match="a tree was differentiated"):
        jax.eval_shape(jax.grad(total), X, state)


def test_in_the_epochs_of_inverses_no_layer_moves_and_in_the_others_no_inverse():
    machine = built("target_propagation", units="6,5,4")
    state, learn = begin(machine), learner(machine)

    def moved(after, effective):
        """Of each parameter that prediction uses, or does not, whether it changed."""
        chosen = [
            jax.tree.leaves(
                jax.tree.map(lambda used, own: own if used == effective else None, machine.effective, params)
            )
            for params in (state.params, after.params)
        ]
        return [not np.array_equal(old, new) for old, new in zip(*chosen, strict=True)]

    for step in range(4):
        after, of_layers = learn(state, step), step >= 2
        assert any(moved(after, of_layers))
        assert not any(moved(after, not of_layers))
        state = after


@pytest.mark.parametrize(
    ("variant", "without"),
    [
        ("decision_linear", {"1": ANGLES, "2": LOCAL}),
        ("neural_decision", {"1": ANGLES | LOCAL}),
        ("direct_feedback_alignment", {"1": LOCAL, "2": LOCAL, "3": set()}),
        ("local_classifier", {"1": LOCAL, "2": LOCAL, "3": set()}),
    ],
)
def test_diagnoses_leave_out_what_has_no_meaning(variant, without, monkeypatch):
    """Angles with a true gradient below trees, and local errors where targets from above are not learned from."""
    config, measured = config_of(variant, diagnose=True), {}
    monkeypatch.setattr(machines, "trainer", lambda machine, diagnose, **_: measured.update(of=(machine, diagnose)))
    build_machine_trainer(config, FACTS, optax.sgd(0.1), 2, unit_range())
    machine, diagnose = measured["of"]

    def run(key):
        state = machine.init(key, X)
        scores, _ = machine.forward(state.params, state.fixed, X, key, True)
        context = machines.Context(jnp.zeros_like(scores), LABEL, jnp.int32(0), key)
        return diagnose(state, X, key, context)

    found = jax.eval_shape(run, KEY)
    assert {part.split("_")[0] for part in found} == set(without)
    for part, own in found.items():
        absent = without[part.split("_")[0]]
        assert not absent & set(own)
        assert (MEASURES - {"angle", "norm_ratio"}) - absent <= set(own)
