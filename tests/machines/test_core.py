"""Chains of machines of Flax modules are backpropagation, and machines mix with `jax.grad`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from al_jax import machines
from al_jax.losses import cross_entropy

LABEL = jnp.arange(6) % 4


class Conv(nn.Module):
    """A convolution, batch norm and activation, then a mean over pixels."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(5, (3, 3))(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.tanh(x).mean((1, 2))


def images(shape=(6, 5, 5, 2)):
    return jax.random.normal(jax.random.key(1), shape)


NETWORKS = {
    "dense": [nn.Dense(7), nn.Dense(5), nn.Dense(4)],
    "norm": [machines.Layer(7, (nn.relu, "norm")), machines.Layer(5, ("norm", nn.tanh)), nn.Dense(4)],
    "conv": [Conv(), machines.Layer(5, (nn.tanh,)), nn.Dense(4)],
}


def feedback_of(machine, state, x, key):
    scores, residuals = machine.forward(state.params, state.fixed, x, key, True)
    error = jax.grad(cross_entropy)(scores, LABEL)
    context = machines.Context(error, LABEL, jnp.int32(0), key)
    return residuals, machines.Feedback.along(scores, error), context


@pytest.mark.parametrize("name", NETWORKS)
def test_a_chain_is_backpropagation(name):
    x = images() if name == "conv" else images((6, 9))
    chain = machines.chain(*map(machines.from_linen, NETWORKS[name]))
    state = jax.jit(chain.init)(jax.random.key(0), x)
    key = jax.random.key(2)

    def objective(params, x):
        """Of the modules alone."""
        for module, own, rest in zip(NETWORKS[name], params, state.fixed, strict=True):
            mode = {} if isinstance(module, nn.Dense) else {"train": True}
            x, _ = module.apply({"params": own, **rest}, x, **mode, mutable=["batch_stats"])
        return cross_entropy(x, LABEL)

    @jax.jit
    def both(state, x):
        residuals, feedback, context = feedback_of(chain, state, x, key)
        gradients, below, _ = chain.backward(state.params, state.fixed, residuals, feedback, context)
        return gradients, below, jax.grad(objective, argnums=(0, 1))(state.params, x)

    gradients, below, (expected, expected_x) = both(state, x)
    assert jax.tree.structure(gradients) == jax.tree.structure(expected)
    for tree, other in ((gradients, expected), (below.delta, expected_x)):
        found, wanted = (np.float64(ravel_pytree(own)[0]) for own in (tree, other))
        assert np.linalg.norm(found - wanted) <= 1e-6 * np.linalg.norm(wanted)
    np.testing.assert_allclose(below.target, x - expected_x, atol=1e-6)


def test_learning_is_backward_then_update_and_keeps_batch_statistics():
    x = images((6, 9))
    chain = machines.chain(*(machines.from_linen(module, optax.sgd(0.1)) for module in NETWORKS["norm"]))
    state = chain.init(jax.random.key(0), x)
    residuals, feedback, context = feedback_of(chain, state, x, jax.random.key(2))
    learned, below, _ = machines.learn(chain, state, residuals, feedback, context)
    gradients, expected, _ = chain.backward(state.params, state.fixed, residuals, feedback, context)
    stepped = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), learned.params, stepped)
    np.testing.assert_array_equal(below.delta, expected.delta)
    assert not np.array_equal(*(s.fixed[0]["batch_stats"]["After_0"]["BatchNorm_0"]["mean"] for s in (state, learned)))


def test_whole_numbers_enter_a_network():
    embed = machines.from_linen(nn.Embed(10, 4))
    state = embed.init(jax.random.key(0), jnp.arange(6))
    y, residuals = embed.forward(state.params, state.fixed, jnp.arange(6), jax.random.key(0), True)
    context = machines.Context(None, None, jnp.int32(0), jax.random.key(0))
    gradients, below, _ = embed.backward(
        state.params, state.fixed, residuals, machines.Feedback.along(y, jnp.ones_like(y)), context
    )
    assert float(gradients["embedding"].sum()) == 24
    assert not below.delta.any()


def test_step_then_feedback_sees_the_new_parameters_and_feedback_only_changes_nothing():
    x = images((6, 9))
    dense = machines.from_linen(nn.Dense(4), optax.sgd(0.5))
    state = dense.init(jax.random.key(0), x)
    residuals, feedback, context = feedback_of(dense, state, x, jax.random.key(2))
    learned, plain, _ = machines.learn(dense, state, residuals, feedback, context)

    first = machines.step_then_feedback(dense)
    residuals, feedback, context = feedback_of(first, state, x, jax.random.key(2))
    stepped, below, _ = machines.learn(first, state, residuals, feedback, context)
    jax.tree.map(np.testing.assert_array_equal, stepped.params, learned.params)
    kernel, bias = stepped.params["kernel"], stepped.params["bias"]
    remaining = x @ kernel + bias[None] - feedback.target
    np.testing.assert_allclose(below.delta, remaining @ kernel.T, atol=1e-6)
    assert not np.allclose(below.delta, plain.delta)

    only = machines.feedback_only(dense)
    residuals, feedback, context = feedback_of(only, state, x, jax.random.key(2))
    same, below, _ = machines.learn(only, state, residuals, feedback, context)
    jax.tree.map(np.testing.assert_array_equal, same, state)
    np.testing.assert_array_equal(below.delta, plain.delta)


def test_a_machine_inside_a_network_that_jax_grad_trains():
    x = images((6, 9))
    chain = machines.chain(*map(machines.from_linen, NETWORKS["norm"][:2]))
    state = chain.init(jax.random.key(0), x)
    layer = machines.differentiable(chain)
    key = jax.random.key(3)

    def through_machine(params, x):
        return jnp.sum(jnp.sin(layer(params, state.fixed, jnp.cos(x), key, True)))

    def plain(params, x):
        return jnp.sum(jnp.sin(chain.forward(params, state.fixed, jnp.cos(x), key, True)[0]))

    for found, wanted in zip(
        jax.tree.leaves(jax.jit(jax.grad(through_machine, argnums=(0, 1)))(state.params, x)),
        jax.tree.leaves(jax.grad(plain, argnums=(0, 1))(state.params, x)),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_refusals_name_the_machine():
    with pytest.raises(ValueError, match="at least one machine"):
        machines.chain()
    wrong = machines.chain(machines.from_linen(nn.Conv(3, (3, 3)), name="eye"))
    with pytest.raises(ValueError, match="machine 'eye' cannot take the input int8"):
        wrong.init(jax.random.key(0), jnp.zeros((2, 3), jnp.int8))
    needy = machines.from_linen(nn.Dense(3))._replace(needs=frozenset(["error"]), name="direct")
    with pytest.raises(ValueError, match="'direct' needs the network's error"):
        machines.differentiable(machines.chain(needy)._replace(name="direct"))


class Flagged(nn.Module):
    """Has another name for `train`, with a default."""

    def __call__(self, x, deterministic=True):
        return x


def test_a_flag_for_training_of_another_name_is_refused():
    with pytest.raises(ValueError, match="Flagged takes 'deterministic': a block's flag for training is called"):
        machines.from_linen(Flagged()).init(jax.random.key(0), jnp.ones((2, 3)))


def test_batch_norm_of_a_layer_keeps_nine_tenths_of_its_statistics():
    norm, x = machines.After(("norm",)), jnp.arange(12.0).reshape(4, 3)
    _, changed = norm.apply(norm.init(jax.random.key(0), x, True), x, True, mutable=["batch_stats"])
    np.testing.assert_allclose(changed["batch_stats"]["BatchNorm_0"]["mean"], 0.1 * x.mean(0), rtol=1e-4)
