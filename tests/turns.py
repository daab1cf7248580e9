"""One turn of a machine on a small batch, for tests of what combinators make of machines."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax import machines
from al_jax.losses import cross_entropy
from al_jax.machines import Context, Feedback, from_linen

X = jax.random.normal(jax.random.key(1), (6, 9))
LABEL = jnp.arange(6) % 4
KEY = jax.random.key(2)
SGD = optax.sgd(0.5)


def dense(width, name=None):
    return from_linen(machines.Layer(width, (nn.tanh,)), SGD, name=name)


def turn(machine, x=X, step=0):
    """State, output, feedback, what is handed down and the state after learning, all at once."""

    @jax.jit
    def run(x):
        state = machine.init(jax.random.key(0), x)
        y, residuals = machine.forward(state.params, state.fixed, x, KEY, True)
        error = jax.grad(cross_entropy)(y, LABEL)
        context = Context(error, LABEL, jnp.int32(step), KEY)
        after, below, _ = machines.learn(machine, state, residuals, Feedback.along(y, error), context)
        gradients, plain, _ = machine.backward(state.params, state.fixed, residuals, Feedback.along(y, error), context)
        return state, y, error, below, after, gradients, plain

    return run(x)


def close(found, wanted, tolerance=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance), found, wanted)
