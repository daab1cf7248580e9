"""The machines that configs/machines.py builds: who learns when, and by what."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax import machines
from al_jax.data import unit_range
from al_jax.losses import cross_entropy
from al_jax.training.facts import DataFacts
from al_jax.training.machines import build_machine

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "machines.py"
KEY, X = jax.random.key(0), np.random.default_rng(0).random((20, 8, 8, 1), np.float32)
LABEL = jnp.arange(20) % 10


def built(variant, **fields):
    """Of a batch of 20 images of digits, with epochs of two updates."""
    config = runpy.run_path(str(CONFIG))["get_config"](f"{variant},smoke")
    config.update({"batch_size": 20, **fields})
    return build_machine(config, DataFacts(10, (8, 8, 1), unit_range()), optax.sgd(0.1), epoch=2)


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
