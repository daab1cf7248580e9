"""What every rule promises: jit changes nothing, seeds do not meet, and a run may stop and go on."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import machines
from al_jax.losses import cross_entropy
from al_jax.machines import Context, Feedback, Layer, Node, from_linen
from al_jax.machines.feedback_alignment import KINDS

X = jax.random.normal(jax.random.key(1), (8, 6))
LABEL = jnp.arange(8) % 4
HIDDEN = Layer(5, (nn.tanh,))
SGD = optax.sgd(0.1)  # where a true gradient is 0, Adam takes steps along what rounding leaves
TOP = from_linen(nn.Dense(4), SGD)
NORMED = Layer(5, ("norm", nn.relu))
REVERSE_WHEN, FORWARD_WHEN = machines.alternating(2)


def below(*hidden):
    return machines.chain(*hidden, TOP)


RULES = {
    "gradient": below(from_linen(NORMED, SGD)),
    **{kind: below(machines.feedback_alignment(NORMED, SGD, kind=kind)) for kind in KINDS},
    "direct": below(machines.direct_feedback_alignment(NORMED, SGD, classes=4)),
    "local": below(machines.local_classifier(NORMED, SGD, classes=4)),
    "target propagation": machines.chain(
        from_linen(HIDDEN, SGD),
        machines.target_propagation(
            HIDDEN, Layer(5, (nn.tanh,)), SGD, SGD, difference=True, noise=0.1, regularisation=0.1
        ),
        machines.with_step(TOP, 2.0),
    ),
    "target propagation in phases": machines.chain(
        machines.with_phase(from_linen(HIDDEN, SGD), FORWARD_WHEN),
        machines.target_propagation(
            HIDDEN, Layer(5, (nn.tanh,)), SGD, SGD, forward_when=FORWARD_WHEN, reverse_when=REVERSE_WHEN
        ),
        machines.with_step(machines.with_phase(TOP, FORWARD_WHEN), 2.0),
    ),
    "least squares": machines.chain(
        machines.least_squares(5, SGD, inputs=0.1, parameters=0.1), from_linen(machines.After((nn.tanh,)), SGD), TOP
    ),
    "trees": below(machines.ensemble(machines.tree_layer(5, 3, feedback=None), 2)),
    "evolution": below(machines.evolved(NORMED, 4, 0.1, SGD)),
    "search": below(machines.searched(HIDDEN, machines.elitist(4, 1, 0.1), feedback=None)),
    "decision": machines.climbed(
        machines.with_noise(from_linen(HIDDEN, SGD), 0.5, explore=True),
        machines.tree_classifier(4, 3, feedback=None, cuts=4),
        candidates=2,
        score=machines.label_rate,
    ),
    "climbing": machines.chain(
        machines.climbed(machines.with_noise(from_linen(HIDDEN, SGD), 0.5), from_linen(nn.Dense(5), SGD), candidates=2),
        TOP,
    ),
    "combinators": machines.chain(
        machines.ema_params(machines.repeat_params(from_linen(HIDDEN, SGD), 2, batch=3), 0.9, every=2),
        machines.masked(machines.with_dropout(from_linen(HIDDEN, SGD), 0.3), output=machines.some_units(3)),
        machines.repeat_input(TOP, 3, optax.sgd(0.5), loss=cross_entropy),
    ),
    "graph": machines.graph(
        {
            "stem": Node(from_linen(NORMED, SGD), target="left"),
            "left": Node(from_linen(HIDDEN, SGD), ("stem",), target="label"),
            "right": Node(machines.gaussian_climb(from_linen(HIDDEN, SGD), candidates=2, sigma=0.1), ("stem",)),
            "top": Node(from_linen(nn.Dense(4), SGD), ("right",), target="label"),
        }
    ),
    "parallel": below(
        machines.parallel(from_linen(HIDDEN, SGD), machines.feedback_alignment(HIDDEN, SGD), inputs=(2, 4))
    ),
    "reversible": below(
        from_linen(HIDDEN, SGD),
        machines.reversible_batch_norm(),
        machines.back_target(lambda x: x[:, ::-1]),
        machines.reversible_leaky_relu(),
    ),
    "orders": below(
        machines.step_then_feedback(from_linen(NORMED, SGD)), machines.feedback_only(from_linen(HIDDEN, SGD))
    ),
}


def turn(machine, state, key):
    scores, residuals = machine.forward(state.params, state.fixed, X, key, True)
    error = jax.grad(cross_entropy)(scores, LABEL)
    return machines.learn(
        machine, state, residuals, Feedback.along(scores, error), Context(error, LABEL, jnp.int32(0), key)
    )


def close(left, right):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", RULES)
def test_jit_and_vmap_change_nothing(name):
    machine, keys = RULES[name], jax.random.split(jax.random.key(3), 2)
    states = jax.jit(jax.vmap(lambda key: machine.init(key, X)))(keys)
    together = jax.jit(jax.vmap(lambda state, key: turn(machine, state, key)))(states, keys)
    own, found = (jax.tree.map(lambda leaf: leaf[1], tree) for tree in (states, together))
    close(found, turn(machine, own, keys[1]))


@pytest.mark.parametrize("name", RULES)
def test_a_run_that_stops_goes_on_to_the_same_bits(name):
    rng = np.random.default_rng(0)
    batches = {
        "image": rng.normal(size=(4, 8, 6)).astype(np.float32),
        "label": rng.integers(0, 4, (4, 8)).astype(np.int32),
    }
    trainer = machines.trainer(RULES[name])
    first = jax.tree.map(lambda x: x[0], batches)
    straight, metrics = trainer.step(trainer.init(jax.random.key(0), first), batches)
    state, _ = trainer.step(trainer.init(jax.random.key(0), first), batches, valid=1)
    saved = jax.tree.map(np.asarray, trainer.components(state))
    later = jax.tree.map(lambda x: np.concatenate([x[1:], x[:1]]), batches)
    resumed, _ = trainer.step(trainer.place(saved), later, valid=3)
    for a, b in zip(jax.tree.leaves(straight), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(straight[0].updates) == 4
    assert np.isfinite(metrics.losses[-1]["loss"]).all()
