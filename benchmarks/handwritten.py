"""Associated Learning on a multi-layer perceptron, written by hand: what `al.sequential` is measured against.

Nothing here comes from al_jax, Flax or optax. The parameters of a component are a dict of the layers of its four parts,
a layer is `(kernel, bias)`, and training is one compiled scan over micro-batches.
"""

import functools

import jax
import jax.numpy as jnp

B1, B2, EPSILON = 0.9, 0.999, 1e-8
RATES = {"f": 1.0, "b": 1.0, "g": 2.0, "h": 2.0}


def dense(layer, x, activation):
    kernel, bias = layer
    return activation(x @ kernel + bias)


def component(params, features, codes_below, one_hot):
    """Features, the codes of the classes `(C, n)`, the associated and the autoencoder loss of one component."""
    features, codes_below = jax.lax.stop_gradient((features, codes_below))
    features = dense(params["f"][0], features, jax.nn.elu)
    codes = dense(params["g"][0], codes_below, jax.nn.sigmoid)
    bridge = dense(params["b"][1], dense(params["b"][0], features, jax.nn.sigmoid), jax.nn.sigmoid)
    decoded = dense(params["h"][0], codes, jax.nn.sigmoid)
    associated = jnp.mean((bridge - jax.lax.stop_gradient(one_hot @ codes)) ** 2)
    autoencoder = jnp.mean((one_hot @ decoded - one_hot @ codes_below) ** 2)
    return features, codes, jnp.stack([associated, autoencoder])


def objective(params, batch, classes):
    """The sum of all components' losses, which share no gradient, and the losses `(K, 2)`."""
    features = batch["image"].reshape(len(batch["image"]), -1)
    codes, one_hot = jnp.eye(classes), jax.nn.one_hot(batch["label"], classes)
    losses = []
    for own in params:
        features, codes, pair = component(own, features, codes, one_hot)
        losses.append(pair)
    losses = jnp.stack(losses)
    return losses.sum(), losses


def initial(params):
    """The state before the first update, with a copy of the parameters."""
    params = jax.tree.map(jnp.copy, params)
    mu, nu = jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params)
    return {"params": params, "mu": mu, "nu": nu, "count": jnp.int32(0)}


def adam(state, gradients, learning_rate):
    """One Adam step; the encoders and decoders of the label's code at twice the rate."""
    count = state["count"] + 1
    mu = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, state["mu"], gradients)
    nu = jax.tree.map(lambda n, g: B2 * n + (1 - B2) * g**2, state["nu"], gradients)
    unbias1, unbias2 = 1 - B1**count, 1 - B2**count

    def move(rate, p, m, n):
        return p - rate * learning_rate * (m / unbias1) / (jnp.sqrt(n / unbias2) + EPSILON)

    params = [
        {part: jax.tree.map(functools.partial(move, RATES[part]), own[part], m[part], n[part]) for part in own}
        for own, m, n in zip(state["params"], mu, nu, strict=True)
    ]
    return {"params": params, "mu": mu, "nu": nu, "count": count}


def make_train(classes, learning_rate, in_place=False):
    """The compiled `(state, batches) -> (state, losses (M, K, 2))` over `(M, B, ...)`; it consumes the state.

    `in_place` asks XLA's CPU compiler for a closer look at what it may overwrite. Without it every turn of the scan
    first copies the kernels that the backward pass reads again. The option is off in XLA by default, and in jaxlib
    0.10.2 it computed NaN in one pipeline: a bound to compare with, not a recommendation.
    """

    def update(state, batch):
        gradients, losses = jax.grad(objective, has_aux=True)(state["params"], batch, classes)
        return adam(state, gradients, learning_rate), losses

    def train(state, batches):
        return jax.lax.scan(update, state, batches)

    options = {"xla_cpu_copy_insertion_use_region_analysis": True} if in_place else None
    return jax.jit(train, donate_argnums=0, compiler_options=options)
