"""Machines that are only built and drawn, for tests of what is refused before anything is learned."""

import flax.linen as nn
import jax

from al_jax import machines
from al_jax.machines import from_linen

KEY, X = jax.random.key(0), jax.random.normal(jax.random.key(1), (6, 5))
DENSE = from_linen(nn.Dense(5), name="lower")
TOP = from_linen(nn.Dense(4))
DIRECT = machines.direct_feedback_alignment(nn.Dense(5), classes=4, name="upper")
TREES = machines.tree_layer(5, 2, feedback=None, name="upper")


def drawn(machine):
    """Without computing a number."""
    return jax.eval_shape(machine.init, KEY, X)
