"""Several seeds of one network in one run: the sequential engine with an axis of seeds in front of everything."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from al_jax.components import with_prepare
from al_jax.engines import checks
from al_jax.engines import exact as exactness
from al_jax.engines.optimizers import Optimizer, optimizers_of
from al_jax.engines.sequential import make_run
from al_jax.engines.update import Held, copied, drawing, hold
from al_jax.types import Network, Prepare, PyTree, Trainer


def over_seeds(
    network: Network,
    optimizer: Optimizer,
    *,
    shards: int = 1,
    accumulate: int = 1,
    prepare: Prepare | None = None,
    exact: bool = False,
) -> Trainer:
    """Makes a trainer whose keys, batches, components and metrics have a leading axis of seeds.

    On CPU the seeds run one after another under `lax.map`, under `exact` each to the bits of a run of its own; on
    accelerators they run together under `vmap`, equal to rounding. Arguments are those of `al.sequential`.
    """
    checks.check_cut(shards, 1, accumulate)
    network = with_prepare(network, prepare)
    optimizers = optimizers_of(network, optimizer)
    draw = drawing(network, optimizers)
    run = make_run(network, optimizers, shards, accumulate)

    def run_all(states, batches, valid):
        def one(operand):
            state, of_one = operand
            return run(state, of_one, valid)

        return over(one, (states, batches))

    compiled = jax.jit(run_all, donate_argnums=0, compiler_options=exactness.compiler_options(exact))
    predict_compiled = jax.jit(jax.vmap(network.predict, in_axes=(0, None, None)), static_argnums=2)

    def init(keys: Sequence[jax.Array], batch):
        checks.check_batch(batch, shards)
        drawn = [draw(key, batch) for key in keys]
        return place(jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn))

    def place(components):
        checks.check_number(components, len(network.components))
        return jax.vmap(lambda states: tuple(hold(state, accumulate) for state in states))(copied(tuple(components)))

    def components(states):
        checks.check_state(states, Held)
        return copied(tuple(held.state for held in states))

    def step(states, batches, valid=None):
        of_one = {name: x[0] for name, x in batches.items()}
        valid = checks.check_batches(of_one, shards, accumulate, valid)
        checks.check_state(states, Held)
        for label in batches.get("label", ()):
            checks.check_labels({"label": label}, valid, network.classes)
        with checks.fitting(batches.get("image")):
            return compiled(states, jax.device_put(dict(batches)), jnp.int32(valid))

    def predict(states, images, depth=None):
        checks.check_state(states, Held)
        depth = checks.check_prediction(images, depth, network.depths)
        with checks.fitting(images):
            return predict_compiled([held.state.variables for held in states], images, depth)

    return Trainer(init, step, lambda states: states, components, place, predict)


def over(one: Callable[[PyTree], PyTree], operands: PyTree) -> PyTree:
    """A function over the axis of seeds, one after another on CPU, together on accelerators."""
    return jax.lax.map(one, operands) if jax.default_backend() == "cpu" else jax.vmap(one)(operands)
