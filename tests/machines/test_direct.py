"""Direct feedback alignment and the local random classifier, in closed form."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import machines
from al_jax.losses import cross_entropy

KEY, LABEL = jax.random.key(0), jnp.arange(6) % 4


class Conv(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.tanh(nn.BatchNorm(use_running_average=not train)(nn.Conv(5, (3, 3), strides=2)(x)))


def normal(shape, number):
    return np.random.default_rng(number).normal(size=shape).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def draw(machine, x, key=KEY):
    return machine.init(key, x)


def drawn(machine, x):
    """In numpy, whose operations need no compilation."""
    return jax.device_get(draw(machine, x))


def direct(module, optimizer=machines.linen.ADAM, name=None):
    return machines.direct_feedback_alignment(module, optimizer, classes=4, name=name)


def local(module, optimizer=machines.linen.ADAM, name=None):
    return machines.local_classifier(module, optimizer, classes=4, name=name)


def context_of(error):
    return machines.Context(error, LABEL, jnp.int32(0), KEY)


@functools.partial(jax.jit, static_argnums=0)
def passed(machine, state, x, error, delta=None):
    y, residuals = machine.forward(state.params, state.fixed, x, KEY, True)
    feedback = machines.Feedback.along(y, jnp.asarray(normal(y.shape, 8)) if delta is None else delta)
    return machine.backward(state.params, state.fixed, residuals, feedback, context_of(error))


@functools.partial(jax.jit, static_argnums=0)
def run(chain, state, x):
    """The chain's gradients, and those of `jax.grad`."""
    scores, residuals = chain.forward(state.params, state.fixed, x, KEY, True)
    error = jax.grad(cross_entropy)(scores, LABEL)
    feedback = machines.Feedback.along(scores, error)
    gradients, _, _ = chain.backward(state.params, state.fixed, residuals, feedback, context_of(error))
    true = jax.grad(lambda p: cross_entropy(chain.forward(p, state.fixed, x, KEY, True)[0], LABEL))(state.params)
    return gradients, true, error


def assert_close(found, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), found, wanted)


def test_direct_feedback_in_closed_form():
    """Gradients are x.T @ (e @ B * tanh'), with hidden layers of other widths than the output; the last is exact."""
    x = normal((6, 9), 1)
    layers = [direct(machines.Layer(7, (nn.tanh,))), direct(machines.Layer(5, (nn.tanh,)))]
    chain = machines.chain(*layers, machines.from_linen(nn.Dense(4)))
    state = drawn(chain, x)
    gradients, true, error = jax.device_get(run(chain, state, x))
    for index, width in enumerate((7, 5)):
        dense, matrix = state.params[index]["Dense_0"], state.fixed[index]["feedback"]["matrix"]
        assert matrix.shape == (4, width)
        y = np.tanh(x @ dense["kernel"] + dense["bias"][None])
        delta = error @ matrix * (1 - y**2)
        assert_close(gradients[index]["Dense_0"], {"kernel": x.T @ delta, "bias": delta.sum(0)})
        assert not np.allclose(gradients[index]["Dense_0"]["kernel"], true[index]["Dense_0"]["kernel"], atol=0.01)
        x = y
    assert_close(gradients[2], true[2])


def test_with_the_weights_above_as_feedback_two_layers_are_backpropagation():
    x = normal((6, 9), 1)
    chain = machines.chain(direct(machines.Layer(7, ("norm", nn.tanh))), machines.from_linen(nn.Dense(4)))
    state = drawn(chain, x)
    fixed = ({**state.fixed[0], "feedback": {"matrix": state.params[1]["kernel"].T}}, state.fixed[1])
    gradients, true, _ = run(chain, state._replace(fixed=fixed), x)
    assert_close(gradients, true)


@pytest.mark.parametrize("rule", [direct, local])
def test_only_what_it_is_given_counts_and_nothing_goes_down(rule):
    """Neither the weights above nor the feedback from there; what lies below must hear for itself, too."""
    x, error = normal((6, 9), 1), normal((6, 4), 2)
    machine = rule(machines.Layer(7, (nn.tanh,)))
    state = drawn(machine, x)
    own = lambda delta: passed(machine, state, x, error, delta)[:2]
    gradients, below = own(normal((6, 7), 3))
    jax.tree.map(np.testing.assert_array_equal, gradients, own(normal((6, 7), 4))[0])
    assert gradients["Dense_0"]["kernel"].any()
    assert not below.delta.any()
    np.testing.assert_array_equal(below.target, x)

    chain = machines.chain(rule(nn.Dense(8)), machine, rule(nn.Dense(5)), machines.from_linen(nn.Dense(4)))
    state = drawn(chain, x)

    @jax.jit
    def lower(state):
        scores, residuals = chain.forward(state.params, state.fixed, x, KEY, True)
        feedback = machines.Feedback.along(scores, error)
        gradients, _, _ = chain.backward(state.params, state.fixed, residuals, feedback, context_of(error))
        return gradients[:2]

    changed = jax.tree.map(lambda leaf: leaf + np.float32(1), state.params[2:])
    gradients, same = lower(state), lower(state._replace(params=(*state.params[:2], *changed)))
    jax.tree.map(np.testing.assert_array_equal, gradients, same)
    assert all(jax.tree.leaves(gradients)[index].any() for index in range(4))


def test_a_local_classifier_in_closed_form():
    """Its delta is (softmax(y C) - label) C.T over the batch."""
    x = normal((6, 9), 1)
    machine = local(nn.Dense(5))
    state = drawn(machine, x)
    gradients, _, metrics = passed(machine, state, x, normal((6, 4), 2))
    matrix = state.fixed["classifier"]["matrix"]
    assert matrix.shape == (5, 4)
    scores = x @ state.params["kernel"] @ matrix
    delta = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True) - np.eye(4)[LABEL]) @ matrix.T / 6
    assert_close(gradients, {"kernel": x.T @ delta, "bias": delta.sum(0)})
    np.testing.assert_allclose(metrics["local_loss"], cross_entropy(scores, LABEL), rtol=1e-6)


@pytest.mark.parametrize(("rule", "shape"), [(direct, (4, 3, 3, 5)), (local, (3, 3, 5, 4))])
def test_images_and_matrices_that_outlive_weight_decay(rule, shape):
    x = normal((6, 5, 5, 2), 1)
    machine = rule(Conv(), optax.adamw(0.1, weight_decay=1))
    state = drawn(machine, x)

    @jax.jit
    def step(state):
        y, residuals = machine.forward(state.params, state.fixed, x, KEY, True)
        feedback = machines.Feedback.along(y, jnp.zeros_like(y))
        return machines.learn(machine, state, residuals, feedback, context_of(normal((6, 4), 2)))[0]

    learned = step(step(state))
    name = "feedback" if rule is direct else "classifier"
    assert state.fixed[name]["matrix"].shape == shape
    np.testing.assert_array_equal(learned.fixed[name]["matrix"], state.fixed[name]["matrix"])
    for old, new in zip(jax.tree.leaves(state.params), jax.tree.leaves(learned.params), strict=True):
        assert not np.allclose(old, new)
    assert not np.array_equal(*(s.fixed["batch_stats"]["BatchNorm_0"]["mean"] for s in (state, learned)))


@pytest.mark.parametrize("rule", [direct, local])
def test_compiled_as_it_runs_and_seeds_together_as_apart(rule):
    x, error, keys = normal((6, 9), 1), normal((6, 4), 2), jax.random.split(jax.random.key(3), 2)
    layer = machines.Layer(7, ("norm", nn.tanh))
    machine = rule(layer)
    state = jax.jit(jax.vmap(lambda key: machine.init(key, x)))(keys)
    one = draw(machine, x, keys[0])
    assert_close(jax.tree.map(lambda leaf: leaf[0], state), one)
    assert_close(one.params, draw(machines.from_linen(layer), x, keys[0]).params)
    found = passed(machine, one, x, error)[0]
    jax.tree.map(np.testing.assert_array_equal, found, passed(machine, one, x, error)[0])
    together = jax.jit(jax.vmap(lambda state: passed(machine, state, x, error)[0]))(state)
    assert_close(jax.tree.map(lambda leaf: leaf[0], together), found)
    assert_close(passed.__wrapped__(machine, one, x, error)[0], found)


@pytest.mark.parametrize("rule", [direct, local])
def test_half_precision_and_whole_numbers(rule):
    machine, pixels = rule(nn.Dense(3, dtype=jnp.bfloat16)), np.arange(54, dtype=np.int32).reshape(6, 9)
    gradients, below, _ = passed(machine, drawn(machine, pixels), pixels, normal((6, 4), 2))
    assert gradients["kernel"].dtype == jnp.float32
    assert not below.delta.any()


def test_refusals_name_the_machine():
    for rule in (machines.direct_feedback_alignment, machines.local_classifier):
        with pytest.raises(ValueError, match="classes of machine 'eye' is 0: it must be 1 or more"):
            rule(nn.Dense(3), classes=0, name="eye")
    machine = direct(nn.Dense(3), name="eye")
    x = normal((6, 9), 1)
    with pytest.raises(ValueError, match=r"'eye' was built for 4 classes.* \(6, 7\): give it classes=7"):
        passed(machine, drawn(machine, x), x, normal((6, 7), 2))
    with pytest.raises(ValueError, match="needs the network's error"):
        machines.differentiable(machine)
    with pytest.raises(ValueError, match="needs the network's label"):
        machines.differentiable(local(nn.Dense(3)))
