"""Angles with the true gradient and errors before and after each step, by hand and in a trainer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import machines
from al_jax.losses import cross_entropy
from al_jax.machines.diagnostics import angle, norm_ratio
from al_jax.training.diagnostics_plot import plot_diagnostics

KEY, LABEL = jax.random.key(0), jnp.arange(6) % 4
SGD = optax.sgd(0.05)
CHANGES = ["local_error_change", "global_error_change", "input_error_change", "input_global_error_change"]
ANGLES = ["angle", "norm_ratio", "feedback_angle"]


def normal(shape, number):
    return jax.random.normal(jax.random.key(number), shape)


def diagnosed(chain, x, **options):
    """The measures, the state and the context they were taken with."""

    @jax.jit
    def run(x):
        state = chain.init(KEY, x)
        scores, _ = chain.forward(state.params, state.fixed, x, jax.random.key(1), True)
        context = machines.Context(jax.grad(cross_entropy)(scores, LABEL), LABEL, jnp.int32(0), jax.random.key(2))
        return machines.diagnostics(chain, **options)(state, x, jax.random.key(1), context), state, context

    return run(x)


def test_gradient_machines_are_aligned():
    layers = [
        machines.Layer(7, ("norm", nn.tanh)),
        nn.Dropout(0.3, deterministic=False),
        nn.Dense(4),
    ]
    chain = machines.chain(*(machines.from_linen(layer, name="layer") for layer in layers))
    measures, _, _ = diagnosed(chain, normal((6, 9), 3))
    assert sorted(measures) == ["1_layer", "2_layer", "3_layer"]
    for name, measured in measures.items():
        weights = name != "2_layer"
        assert sorted(measured) == sorted([*CHANGES, *(ANGLES if weights else ["feedback_angle"]), "distance"])
        assert measured["feedback_angle"] < 1e-3
        if weights:
            assert measured["angle"] < 1e-3
            np.testing.assert_allclose(measured["norm_ratio"], 1, rtol=1e-5)


def test_errors_after_less_before():
    """By plain evaluation of the two layers; the changes of inputs by their targets too."""
    x, lower, upper = normal((6, 9), 3), machines.Layer(5, (nn.tanh,)), nn.Dense(4)
    chain = machines.chain(machines.from_linen(lower, SGD), machines.from_linen(upper, SGD))
    measures, state, context = diagnosed(chain, x)
    first, second = state.params

    def norm(rows):
        return np.linalg.norm(rows, axis=1).mean()

    def f(params, x):
        return lower.apply({"params": params}, x, True)

    def g(params, h):
        return upper.apply({"params": params}, h)

    def loss(first, second, x):
        return cross_entropy(g(second, f(first, x)), LABEL)

    by_first, by_second, by_x = jax.grad(loss, argnums=(0, 1, 2))(first, second, x)
    step = lambda params, gradients: jax.tree.map(lambda p, g: p - 0.05 * g, params, gradients)
    hidden, error = f(first, x), context.error
    delta, value = error @ second["kernel"].T, loss(first, second, x)
    new_first, new_second = step(first, by_first), step(second, by_second)
    wanted = {
        "1_Layer": {
            "distance": norm(delta),
            "local_error_change": norm(f(new_first, x) - hidden + delta) - norm(delta),
            "global_error_change": loss(new_first, second, x) - value,
            "input_error_change": norm(f(first, x - by_x) - hidden + delta) - norm(delta),
            "input_global_error_change": loss(first, second, x - by_x) - value,
        },
        "2_Dense": {
            "distance": norm(error),
            "local_error_change": norm(g(new_second, hidden) - g(second, hidden) + error) - norm(error),
            "global_error_change": loss(first, new_second, x) - value,
            "input_error_change": norm(g(second, hidden - delta) - g(second, hidden) + error) - norm(error),
            "input_global_error_change": cross_entropy(g(second, hidden - delta), LABEL) - value,
        },
    }
    for part, expected in wanted.items():
        for name, number in expected.items():
            np.testing.assert_allclose(measures[part][name], number, atol=1e-6, err_msg=f"{part}/{name}")
            assert (measures[part][name] < 0) == (name != "distance")


def test_angles_of_other_rules():
    x = normal((6, 9), 3)
    parts = [
        machines.direct_feedback_alignment(machines.Layer(7, (nn.tanh,)), classes=4, name="direct"),
        machines.feedback_only(machines.from_linen(machines.Layer(6, (nn.tanh,)), name="frozen")),
        machines.feedback_alignment(nn.Dense(4), name="aligned"),
    ]
    measures, state, context = diagnosed(machines.chain(*parts), x)
    assert measures["1_direct"]["feedback_angle"] == 90  # it hands nothing down
    elsewhere = sorted(["global_error_change", "input_global_error_change", *ANGLES])
    assert sorted(measures["1_direct"]) == elsewhere  # its target is not the one from above, so local errors are none
    assert 20 < measures["1_direct"]["angle"] < 160
    assert "angle" not in measures["2_frozen"]
    assert measures["2_frozen"]["global_error_change"] == 0
    assert "local_error_change" not in measures["2_frozen"]
    assert measures["3_aligned"]["local_error_change"] < 0
    assert measures["3_aligned"]["angle"] < 1e-3  # its own gradient is true
    kernel, matrix = state.params[2]["kernel"], state.fixed[2]["feedback"]["kernel"]
    handed, true = np.ravel(context.error @ matrix.T), np.ravel(context.error @ kernel.T)
    cosine = handed @ true / np.linalg.norm(handed) / np.linalg.norm(true)
    np.testing.assert_allclose(measures["3_aligned"]["feedback_angle"], np.rad2deg(np.arccos(cosine)), rtol=1e-4)


def test_parts_without_a_true_gradient_and_inputs_without_targets():
    chain = machines.chain(
        *(machines.from_linen(layer, name="x") for layer in (nn.Dense(5, dtype=jnp.float32), nn.Dense(4)))
    )
    measures, _, _ = diagnosed(chain, jnp.arange(54).reshape(6, 9) % 7)
    assert sorted(measures["1_x"]) == ["angle", "distance", "global_error_change", "local_error_change", "norm_ratio"]
    measures, _, _ = diagnosed(chain, normal((6, 9), 3), differentiable_from=2)
    assert sorted(measures["1_x"]) == sorted([*CHANGES, "distance"])
    assert sorted(measures["2_x"]) == sorted([*CHANGES, *ANGLES, "distance"])
    alone, _, _ = diagnosed(machines.from_linen(nn.Dense(4)), normal((6, 9), 3))
    assert alone["1_Dense"]["angle"] < 1e-3
    with pytest.raises(ValueError, match="differentiable_from is 4, but machine 'chain' has parts 1 to 2"):
        machines.diagnostics(chain, differentiable_from=4)


def test_angles_and_ratios_of_vectors():
    def both(a, b):
        a, b = ({"x": jnp.float32(side)} for side in (a, b))
        return float(angle(a, b)), float(norm_ratio(a, b))

    np.testing.assert_allclose(both([1, 0], [2, 0]), (0, 0.5))
    np.testing.assert_allclose(both([1, 1], [0, 2]), (45, 2**-0.5), rtol=1e-6)
    np.testing.assert_allclose(both([1, 0], [-1, 0]), (180, 1), rtol=1e-6)
    np.testing.assert_allclose(both([1, 1e-5], [1, 0]), (np.rad2deg(1e-5), 1), rtol=1e-2)
    np.testing.assert_allclose(both([1e-30, 1e-30], [0, 2e-30]), (45, 2**-0.5), rtol=1e-6)  # squares are 0 in float32
    np.testing.assert_array_equal([both([0, 0], [1, 0]), both([1, 0], [0, 0]), both([0, 0], [0, 0])], [(90, 0)] * 3)


def test_feedback_alignment_aligns_while_a_trainer_trains(tmp_path):
    x = normal((300, 16, 8), 3)
    label = jnp.argmax(x @ normal((8, 3), 4), axis=-1)
    layers = [machines.Layer(12, (nn.tanh,)), machines.Layer(12, (nn.tanh,)), nn.Dense(3)]
    chain = machines.chain(*(machines.feedback_alignment(layer, optax.sgd(0.3), name="x") for layer in layers))
    trainer = machines.trainer(chain, diagnose=machines.diagnostics(chain))
    state = trainer.init(jax.random.key(1), {"image": x[0], "label": label[0]})
    _, metrics = trainer.step(state, {"image": x, "label": label})
    measured = [{name: np.asarray(values) for name, values in losses.items()} for losses in metrics.losses]
    for part, (early, late) in enumerate([(75, 70), (75, 45)]):
        angles = measured[part]["angle"]
        assert angles[:20].mean() > early
        assert angles[-50:].mean() < late
    assert measured[2]["angle"].max() < 1e-3
    assert sum(own["global_error_change"].mean() for own in measured) < 0
    assert all(np.isfinite(values).all() for own in measured for values in own.values())
    rows = [
        {"update": update + 1}
        | {
            f"component_{i + 1}/{name}": float(values[update])
            for i, own in enumerate(measured)
            for name, values in own.items()
        }
        for update in range(0, 300, 5)
    ]
    plot_diagnostics(rows, tmp_path / "diagnostics.png")
    assert (tmp_path / "diagnostics.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="no row has a measure of diagnostics"):
        plot_diagnostics([{"update": 1, "component_1/loss": 0.3}], tmp_path / "none.png")
